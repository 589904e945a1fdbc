//! One way to draw all figures: title, legend, phases and faults above, axes and layers below. Written for
//! any plotters backend, so that SVG and PNG show the same.

use plotters::coord::Shift;
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::axis::Axis;
use super::palette::{ColorRole, FONT, Palette};
use super::timeline::Timeline;
use super::timeline_overlay::{LANE_HEIGHT, draw_marker_legend, draw_timeline};

/// A figure, ready to be drawn.
#[derive(Clone, Debug)]
pub(crate) struct Plot {
    /// File name without its ending.
    pub file: &'static str,
    /// Title with its unit.
    pub title: String,
    /// What it shows, in words, for those who do not see it.
    pub about: String,
    /// What the horizontal axis means.
    pub x_label: &'static str,
    pub x: Axis,
    pub y: Axis,
    /// Phases and faults, where the horizontal axis is time.
    pub timeline: Option<Timeline>,
    pub layers: Vec<Layer>,
}

/// A named part of a figure.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub name: String,
    pub role: ColorRole,
    pub shape: Shape,
}

/// How a layer is drawn.
#[derive(Clone, Debug)]
pub(crate) enum Shape {
    /// Lines, broken where nothing was measured. Dash and gap in pixels; a gap of 0 is a full line.
    Line { dash: (i32, i32), runs: Vec<Vec<(f64, f64)>> },
    /// Steps filled from a low to a high value: (from, to, low, high).
    Steps { runs: Vec<Vec<(f64, f64, f64, f64)>> },
    /// Short texts in a row above the horizontal axis.
    Notes { along: Vec<(f64, String)> },
}

impl Plot {
    /// Height as SVG: lanes beyond the first add to it, so that the plot keeps its size.
    pub fn height(&self) -> u32 {
        let lanes = self.timeline.as_ref().map_or(0, Timeline::lanes) as u32;
        SIZE.1 + lanes.saturating_sub(1) * LANE_HEIGHT as u32
    }
}

/// Size of a figure in pixels.
pub(crate) const SIZE: (u32, u32) = (640, 330);

pub(super) type DrawResult<DB> = Result<(), DrawingAreaErrorKind<<DB as DrawingBackend>::ErrorType>>;
pub(super) type Area<DB> = DrawingArea<DB, Shift>;

/// Text of a size in pixels (of its em) and a role.
pub(crate) fn text_style<'a>(
    palette: Palette,
    em: f64,
    role: ColorRole,
    bold: bool,
    anchor: (HPos, VPos),
) -> TextStyle<'a> {
    let style = if bold { FontStyle::Bold } else { FontStyle::Normal };
    // plotters means the line's height by "size" and writes size / 1.24 as the font size.
    let font = (FONT, em * 1.24, style).into_font();
    TextStyle { font, color: palette.colour(role).to_backend_color(), pos: Pos::new(anchor.0, anchor.1) }
}

/// Width of a text in pixels.
pub(crate) fn text_width<DB: DrawingBackend>(area: &Area<DB>, text: &str, style: &TextStyle<'_>) -> i32 {
    area.estimate_text_size(text, style).map_or(0, |(width, _)| i32::try_from(width).unwrap_or(i32::MAX))
}

/// The text, cut with an ellipsis to a width in pixels; empty where not even three letters fit.
pub(crate) fn truncate_to_width<DB: DrawingBackend>(
    area: &Area<DB>,
    text: &str,
    style: &TextStyle<'_>,
    width: i32,
) -> String {
    if text_width(area, text, style) <= width {
        return text.to_owned();
    }
    let letters: Vec<char> = text.chars().take(200).collect();
    (3..letters.len())
        .rev()
        .map(|count| letters[..count].iter().collect::<String>().trim_end().to_owned() + "…")
        .find(|cut| text_width(area, cut, style) <= width)
        .unwrap_or_default()
}

/// Draws a figure.
pub(crate) fn draw<DB: DrawingBackend>(area: &Area<DB>, plot: &Plot, palette: Palette) -> DrawResult<DB> {
    let (width, height) = area.dim_in_pixel();
    let (width, height) = (width as i32, height as i32);
    let left = 64;
    let title = text_style(palette, 14.0, ColorRole::Text, true, (HPos::Left, VPos::Top));
    area.draw_text(&truncate_to_width(area, &plot.title, &title, width - 24), &title, (10, 8))?;
    legend(area, plot, palette, 34)?;
    let bands = plot.timeline.is_some();
    let lanes = plot.timeline.as_ref().map_or(0, Timeline::lanes) as i32;
    let top = 52 + if bands { 20 } else { 0 } + if lanes > 0 { lanes * LANE_HEIGHT + 4 } else { 0 };

    let mut chart = ChartBuilder::on(area)
        .margin_top(top)
        .margin_right(24)
        .margin_bottom(22)
        .margin_left(6)
        .x_label_area_size(22)
        .y_label_area_size(left - 6)
        .build_cartesian_2d(plot.x.clone(), plot.y.clone())?;
    let (x_pixels, y_pixels) = chart.plotting_area().get_pixel_range();
    let base = area.get_base_pixel();
    let frame = Frame {
        left: x_pixels.start - base.0,
        right: x_pixels.end - base.0,
        top: y_pixels.start - base.1,
        bottom: y_pixels.end - base.1,
        from: plot.x.from,
        to: plot.x.to,
    };
    if let Some(timeline) = &plot.timeline {
        draw_timeline(area, timeline, palette, &frame)?;
    }
    let label = text_style(palette, 11.0, ColorRole::Muted, false, (HPos::Center, VPos::Center));
    chart
        .configure_mesh()
        .max_light_lines(0)
        .disable_x_mesh()
        .bold_line_style(palette.colour(ColorRole::Grid))
        .axis_style(palette.colour(ColorRole::Muted))
        .label_style(label.clone())
        .x_labels(plot.x.ticks.len())
        .y_labels(plot.y.ticks.len())
        .draw()?;
    for layer in &plot.layers {
        let colour = palette.colour(layer.role);
        match &layer.shape {
            Shape::Line { dash, runs } => {
                for run in runs {
                    let style = ShapeStyle { color: colour.to_rgba(), filled: false, stroke_width: 2 };
                    match run.as_slice() {
                        // A line of one point would not be seen.
                        [point] => {
                            chart.draw_series([Circle::new(*point, 2, style.filled())])?;
                        }
                        points if dash.1 == 0 => {
                            chart.draw_series([PathElement::new(points.to_vec(), style)])?;
                        }
                        points => {
                            let points = points.to_vec();
                            chart.draw_series([DashedPathElement::new(points, dash.0, dash.1, style)])?;
                        }
                    }
                }
            }
            Shape::Steps { runs } => {
                for run in runs {
                    let upper = run.iter().flat_map(|(from, to, _, high)| [(*from, *high), (*to, *high)]);
                    let lower = run.iter().rev().flat_map(|(from, to, low, _)| [(*to, *low), (*from, *low)]);
                    let outline: Vec<(f64, f64)> = upper.chain(lower).collect();
                    chart.draw_series([Polygon::new(outline, colour.filled())])?;
                }
            }
            Shape::Notes { along } => {
                let note = text_style(palette, 8.0, layer.role, false, (HPos::Center, VPos::Bottom));
                for (at, text) in along {
                    area.draw_text(text, &note, (frame.x(*at), frame.bottom - 3))?;
                }
            }
        }
    }
    if lanes > 0 {
        // The legend of the marks is left of the axis' title, where there is space.
        let axis_title = text_style(palette, 11.0, ColorRole::Muted, false, (HPos::Right, VPos::Top));
        area.draw_text(plot.x_label, &axis_title, (frame.right, height - 18))?;
        draw_marker_legend(area, palette, (frame.left, height - 12))
    } else {
        let axis_title = text_style(palette, 11.0, ColorRole::Muted, false, (HPos::Center, VPos::Top));
        area.draw_text(plot.x_label, &axis_title, (i32::midpoint(frame.left, frame.right), height - 18))
    }
}

/// The plot's edges in pixels, and the range of its horizontal axis.
pub(super) struct Frame {
    pub left: i32,
    pub right: i32,
    pub top: i32,
    pub bottom: i32,
    pub from: f64,
    pub to: f64,
}

impl Frame {
    pub fn x(&self, at: f64) -> i32 {
        let share = ((at - self.from) / (self.to - self.from)).clamp(0.0, 1.0);
        self.left + (share * f64::from(self.right - self.left)).round() as i32
    }
}

fn legend<DB: DrawingBackend>(area: &Area<DB>, plot: &Plot, palette: Palette, y: i32) -> DrawResult<DB> {
    let style = text_style(palette, 11.5, ColorRole::Text, false, (HPos::Left, VPos::Center));
    let mut x = 12;
    for layer in &plot.layers {
        let colour = palette.colour(layer.role);
        match &layer.shape {
            Shape::Line { dash, .. } => {
                let stroke = ShapeStyle { color: colour.to_rgba(), filled: false, stroke_width: 2 };
                let ends = [(x, y), (x + 24, y)];
                if dash.1 == 0 {
                    area.draw(&PathElement::new(ends, stroke))?;
                } else {
                    area.draw(&DashedPathElement::new(ends, dash.0, dash.1, stroke))?;
                }
                x += 30;
            }
            Shape::Steps { .. } => {
                area.draw(&Rectangle::new([(x, y - 5), (x + 11, y + 5)], colour.filled()))?;
                x += 16;
            }
            Shape::Notes { .. } => {}
        }
        area.draw_text(&layer.name, &style, (x, y))?;
        x += text_width(area, &layer.name, &style) + 16;
    }
    Ok(())
}
