//! What is behind and above every figure over time: phases as a strip, each fault as a shade with its marks in a
//! lane of its own.

use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::palette::{ColorRole, Palette};
use super::plot::{Area, DrawResult, Frame, text_style, text_width, truncate_to_width};
use super::timeline::{FaultSpan, Timeline};

/// Height of a lane.
pub(super) const LANE_HEIGHT: i32 = 15;

/// With more phases than these, only the strip shows where each begins.
const MAX_PHASE_LINES: usize = 12;

/// A moment in a fault's life.
#[derive(Clone, Copy)]
enum FaultMarker {
    Injected,
    Seen,
    Undone,
    Back,
}

impl FaultMarker {
    const ALL: [Self; 4] = [Self::Injected, Self::Seen, Self::Undone, Self::Back];

    fn word(self) -> &'static str {
        match self {
            Self::Injected => "injected",
            Self::Seen => "confirmed",
            Self::Undone => "undone",
            Self::Back => "service back",
        }
    }

    /// Each has its own shape; the last also its own colour.
    fn draw<DB: DrawingBackend>(self, area: &Area<DB>, palette: Palette, (x, y): (i32, i32)) -> DrawResult<DB> {
        let fault = palette.colour(ColorRole::Fault).filled();
        let points = match self {
            Self::Injected => vec![(x - 4, y - 4), (x + 4, y - 4), (x, y + 4)],
            Self::Undone => vec![(x - 4, y + 4), (x + 4, y + 4), (x, y - 4)],
            Self::Seen => return area.draw(&Circle::new((x, y), 3, fault)),
            Self::Back => {
                let points = vec![(x - 4, y), (x, y - 5), (x + 4, y), (x, y + 5)];
                return area.draw(&Polygon::new(points, palette.colour(ColorRole::Pass).filled()));
            }
        };
        area.draw(&Polygon::new(points, fault))
    }
}

/// What the marks mean, in one line from a point on.
pub(super) fn draw_marker_legend<DB: DrawingBackend>(
    area: &Area<DB>,
    palette: Palette,
    (mut x, y): (i32, i32),
) -> DrawResult<DB> {
    let style = text_style(palette, 10.5, ColorRole::Muted, false, (HPos::Left, VPos::Center));
    for mark in FaultMarker::ALL {
        mark.draw(area, palette, (x + 4, y))?;
        area.draw_text(mark.word(), &style, (x + 12, y))?;
        x += 12 + text_width(area, mark.word(), &style) + 12;
    }
    Ok(())
}

/// Draws phases and faults; layers come on top of them.
pub(super) fn draw_timeline<DB: DrawingBackend>(
    area: &Area<DB>,
    timeline: &Timeline,
    palette: Palette,
    frame: &Frame,
) -> DrawResult<DB> {
    let lanes = timeline.lanes() as i32;
    let lane_top = frame.top - lanes * LANE_HEIGHT - if lanes > 0 { 3 } else { 0 };
    let strip = lane_top - 20;
    let style = text_style(palette, 10.5, ColorRole::Text, false, (HPos::Center, VPos::Center));
    let crowded = timeline.phases.len() > MAX_PHASE_LINES;
    let mut last = None;
    for phase in &timeline.phases {
        let (from, to) = (frame.x(phase.from), frame.x(phase.to));
        // Of thousands of phases most are too short to be seen.
        if last.replace((from, to)) == Some((to, to)) {
            continue;
        }
        area.draw(&Rectangle::new([(from + 1, strip), (to, strip + 16)], palette.colour(ColorRole::Band).filled()))?;
        let name = truncate_to_width(area, &phase.name, &style, to - from - 6);
        area.draw_text(&name, &style, (i32::midpoint(from, to), strip + 9))?;
        // With many phases lines over the whole plot would hide what is drawn.
        let line = [(from, strip), (from, if crowded { strip + 16 } else { frame.bottom })];
        area.draw(&DashedPathElement::new(line, 2, 4, palette.colour(ColorRole::Muted).stroke_width(1)))?;
    }
    for fault in &timeline.faults {
        draw_fault_background(area, fault, palette, frame)?;
    }
    for (index, fault) in timeline.faults.iter().enumerate() {
        let y = lane_top + fault.lane as i32 * LANE_HEIGHT + LANE_HEIGHT / 2;
        let (from, end) = (frame.x(fault.from), frame.x(fault.to).max(frame.x(fault.from) + 2));
        let bar = [(from, y - 2), (end, y + 2)];
        area.draw(&Rectangle::new(bar, palette.colour(ColorRole::Fault).mix(0.45).filled()))?;
        if let Some(back) = fault.recovered {
            let line = [(end, y), (frame.x(back), y)];
            area.draw(&PathElement::new(line, palette.colour(ColorRole::Fault).stroke_width(1)))?;
        }
        let at = |moment: Option<f64>| moment.filter(|at| *at <= timeline.to).map(|at| (frame.x(at), y));
        for (mark, moment) in
            FaultMarker::ALL.into_iter().zip([Some(fault.from), fault.seen, fault.undone, fault.recovered])
        {
            if let Some(place) = at(moment) {
                mark.draw(area, palette, place)?;
            }
        }
        label(area, timeline, index, palette, frame, y)?;
    }
    Ok(())
}

/// Dark while it lasts, lighter until the service was back.
fn draw_fault_background<DB: DrawingBackend>(
    area: &Area<DB>,
    fault: &FaultSpan,
    palette: Palette,
    frame: &Frame,
) -> DrawResult<DB> {
    let (from, to) = (frame.x(fault.from), frame.x(fault.to).max(frame.x(fault.from) + 1));
    let colour = palette.colour(ColorRole::Fault);
    area.draw(&Rectangle::new([(from, frame.top), (to, frame.bottom)], colour.mix(0.13).filled()))?;
    for edge in [from, to] {
        let line = [(edge, frame.top), (edge, frame.bottom)];
        area.draw(&PathElement::new(line, colour.mix(0.6).stroke_width(1)))?;
    }
    if let Some(back) = fault.recovered.map(|back| frame.x(back)).filter(|back| *back > to) {
        area.draw(&Rectangle::new([(to, frame.top), (back, frame.bottom)], colour.mix(0.06).filled()))?;
        let line = [(back, frame.top), (back, frame.bottom)];
        area.draw(&DashedPathElement::new(line, 3, 3, palette.colour(ColorRole::Pass).stroke_width(1)))?;
    }
    Ok(())
}

/// Number and name behind the marks, or before them where there is no space behind; the number alone where the name does
/// not fit.
fn label<DB: DrawingBackend>(
    area: &Area<DB>,
    timeline: &Timeline,
    index: usize,
    palette: Palette,
    frame: &Frame,
    y: i32,
) -> DrawResult<DB> {
    let fault = &timeline.faults[index];
    let neighbours =
        || timeline.faults.iter().enumerate().filter(|(at, other)| *at != index && other.lane == fault.lane);
    let (from, end) = (frame.x(fault.from) - 7, frame.x(fault.end().min(timeline.to)) + 7);
    let next = neighbours().map(|(_, other)| frame.x(other.from) - 7).filter(|at| *at >= end - 7).min();
    let right = next.unwrap_or(frame.right + 20) - end;
    let before = neighbours().map(|(_, other)| frame.x(other.end()) + 7).filter(|at| *at <= from + 7).max();
    // The label of the neighbour before is there, unless there is none.
    let left = if before.is_some() { 0 } else { from - frame.left };
    let style = |anchor| text_style(palette, 10.5, ColorRole::Fault, true, (anchor, VPos::Center));
    let number = fault.number.to_string();
    let alone = timeline.faults.len() == 1;
    let whole = match fault.what.as_str() {
        what if alone => what.to_owned(),
        // With many faults it would be chance which names fit.
        _ if timeline.numbered() => number.clone(),
        what => format!("{number} {what}"),
    };
    let (behind, ahead) = (style(HPos::Left), style(HPos::Right));
    let width = text_width(area, &whole, &behind);
    if width <= right {
        area.draw_text(&whole, &behind, (end, y))
    } else if width <= left {
        area.draw_text(&whole, &ahead, (from, y))
    } else if text_width(area, &number, &behind) <= right {
        let text = if right >= 48 && !alone { truncate_to_width(area, &whole, &behind, right) } else { number };
        area.draw_text(&text, &behind, (end, y))
    } else {
        // No space at all: the table of faults has it.
        Ok(())
    }
}
