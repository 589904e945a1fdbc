//! `summary.png`: verdict, criteria and three figures on one page, for trackers that preview pictures only.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use cacheproof_verdict::Ruling;

use super::super::ReportError;
use super::super::text::one_line;
use super::super::view::View;
use super::bitmap::{Bitmap, SCALE};
use super::palette::{ColorRole, Palette, prepare_fonts};
use super::plot::{Plot, SIZE, draw, text_style, truncate_to_width};

const WIDTH: u32 = 1_320;
const MARGIN: i32 = 28;
const LINE_HEIGHT: i32 = 44;
/// More criteria than these are counted, not listed.
const MAX_CRITERIA: usize = 14;

/// Draws the page as PNG.
pub(crate) fn page(view: &View<'_>, plots: &[Plot]) -> Result<Vec<u8>, ReportError> {
    prepare_fonts()?;
    let wanted = ["response-percentiles", "response-p95", "outcomes"];
    let plots: Vec<&Plot> = wanted.iter().filter_map(|file| plots.iter().find(|plot| plot.file == *file)).collect();
    let listed = view.criteria.len().min(MAX_CRITERIA) + usize::from(view.criteria.len() > MAX_CRITERIA);
    let list_height = (listed as i32 * LINE_HEIGHT).max(SIZE.1 as i32);
    let rows = 1 + plots.len().saturating_sub(1).div_ceil(2);
    let head = 112;
    let height = head + list_height + (rows as i32 - 1) * (SIZE.1 as i32 + 16) + MARGIN;
    let size = (WIDTH, height as u32);
    let large = (size.0 * SCALE, size.1 * SCALE);
    let mut pixels = vec![0u8; large.0 as usize * large.1 as usize * 3];
    {
        let backend = Bitmap::new(&mut pixels, size)
            .ok_or_else(|| ReportError::Draw("the embedded font can't be read".to_owned()))?;
        let area = backend.into_drawing_area();
        paint(&area, view, &plots, head, list_height)
            .and_then(|()| area.present())
            .map_err(|error| ReportError::Draw(format!("summary.png: {error}")))?;
    }
    encode(large, &pixels).map_err(|error| ReportError::Draw(format!("summary.png: {error}")))
}

fn paint(
    area: &DrawingArea<Bitmap<'_>, Shift>,
    view: &View<'_>,
    plots: &[&Plot],
    head: i32,
    list_height: i32,
) -> Result<(), DrawingAreaErrorKind<<Bitmap<'static> as DrawingBackend>::ErrorType>> {
    let palette = Palette::Light;
    area.fill(&palette.colour(ColorRole::Background))?;
    let role = role(view.ruling);
    area.draw(&Rectangle::new([(0, 0), (10, head - 22)], palette.colour(role).filled()))?;
    let style = |em, role, bold| text_style(palette, em, role, bold, (HPos::Left, VPos::Center));
    let big = style(28.0, role, true);
    let word = format!("{} {}", view.ruling.sign(), view.ruling.as_str().to_uppercase());
    area.draw_text(&word, &big, (MARGIN, 34))?;
    let width = area.estimate_text_size(&word, &big).map_or(0, |(width, _)| width as i32);
    let title = style(20.0, ColorRole::Text, true);
    let left = MARGIN + width + 24;
    let text = truncate_to_width(area, &one_line(view.title, 160), &title, WIDTH as i32 - left - MARGIN);
    area.draw_text(&text, &title, (left, 36))?;
    let small = style(13.0, ColorRole::Muted, false);
    let mut facts = vec![view.summary.to_owned()];
    if let Some(start) = view.start {
        facts.push(start.started_at.clone());
        facts.push(format!("{}, {} cores", start.host.cpu, start.host.cores));
    }
    let facts = one_line(&facts.join("   ·   "), 300);
    area.draw_text(&truncate_to_width(area, &facts, &small, WIDTH as i32 - 2 * MARGIN), &small, (MARGIN, 72))?;

    let column = WIDTH as i32 - SIZE.0 as i32 - MARGIN;
    let says = style(13.5, ColorRole::Text, true);
    let evidence = style(12.0, ColorRole::Muted, false);
    let mut y = head + 8;
    for criterion in view.criteria.iter().take(MAX_CRITERIA) {
        let sign = style(17.0, self::role(criterion.ruling), true);
        area.draw_text(criterion.ruling.sign(), &sign, (MARGIN, y))?;
        let left = MARGIN + 28;
        let width = column - left - 20;
        area.draw_text(&truncate_to_width(area, &one_line(criterion.says, 160), &says, width), &says, (left, y))?;
        let shown = one_line(&criterion.evidence_line(), 200);
        area.draw_text(&truncate_to_width(area, &shown, &evidence, width), &evidence, (left, y + 18))?;
        y += LINE_HEIGHT;
    }
    if view.criteria.len() > MAX_CRITERIA {
        let more = format!("and {} more", view.criteria.len() - MAX_CRITERIA);
        area.draw_text(&more, &evidence, (MARGIN + 28, y))?;
    }
    let below = head + list_height + 16;
    for (index, plot) in plots.iter().enumerate() {
        let (x, y) = match index {
            0 => (column, head - 18),
            index => {
                let index = index as i32 - 1;
                (MARGIN / 2 + index % 2 * (SIZE.0 as i32 + 14), below + index / 2 * (SIZE.1 as i32 + 16))
            }
        };
        let part = area.clone().shrink((x, y), SIZE);
        draw(&part, plot, palette)?;
    }
    Ok(())
}

/// The colour of a ruling.
fn role(ruling: Ruling) -> ColorRole {
    match ruling {
        Ruling::Claimed => ColorRole::Muted,
        Ruling::Pass => ColorRole::Pass,
        Ruling::Inconclusive => ColorRole::Inconclusive,
        Ruling::Fail => ColorRole::Error,
    }
}

fn encode((width, height): (u32, u32), pixels: &[u8]) -> Result<Vec<u8>, png::EncodingError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Best);
    encoder.set_filter(png::FilterType::NoFilter);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(bytes)
}
