//! Turns plotters' SVG into one for a page: with a light and a dark theme, labelled for screen readers, of any width.

use maud::{Markup, PreEscaped, html};
use plotters::prelude::*;

use super::super::ReportError;
use super::super::text::lines;
use super::palette::{ColorRole, Palette, prepare_fonts};
use super::plot::{Plot, SIZE, draw};

/// A figure as SVG, with and without its own style sheet.
#[derive(Clone, Debug)]
pub(crate) struct Svg {
    /// For a page that has [`style`] already.
    pub inline: String,
    /// A file of its own.
    pub alone: String,
}

/// Draws a figure as SVG.
pub(crate) fn svg(plot: &Plot) -> Result<Svg, ReportError> {
    prepare_fonts()?;
    let failed = |error: String| ReportError::Draw(format!("{}: {error}", plot.file));
    let mut drawn = String::new();
    {
        let area = SVGBackend::with_string(&mut drawn, (SIZE.0, plot.height())).into_drawing_area();
        draw(&area, plot, Palette::Sentinel).map_err(|error| failed(error.to_string()))?;
        area.present().map_err(|error| failed(error.to_string()))?;
    }
    let body = drawn
        .find('>')
        .map(|start| &drawn[start + 1..])
        .and_then(|rest| rest.rfind("</svg>").map(|end| &rest[..end]))
        .ok_or_else(|| failed("plotters wrote no SVG".to_owned()))?;
    let body = themed(body);
    let (width, height) = (SIZE.0, plot.height());
    let (paper, _) = ColorRole::Background.colours();
    let alone = html! { style { "\n" (PreEscaped(style())) } "\n" rect width=(width) height=(height) fill={ "#" (format!("{paper:06X}")) } class="cp-0" {} "\n" };
    let element = |size: Option<(u32, u32)>, before: &Markup| {
        let (title, about) = (format!("{}-title", plot.file), format!("{}-desc", plot.file));
        html! {
            svg xmlns="http://www.w3.org/2000/svg" class="cp-chart" viewBox={ "0 0 " (width) " " (height) } role="img"
                aria-labelledby={ (title) " " (about) } width=[size.map(|(width, _)| width)] height=[size.map(|(_, height)| height)] {
                "\n" title id=(title) { (lines(&plot.title)) }
                "\n" desc id=(about) { (lines(&plot.about)) }
                "\n" (before) (PreEscaped(&body))
            }
            "\n"
        }
        .into_string()
    };
    Ok(Svg {
        inline: element(None, &html! {}),
        alone: format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}", element(Some((width, height)), &alone)),
    })
}

/// Sentinels become the light colour and a class; attributes that say nothing are removed.
fn themed(body: &str) -> String {
    let mut text = body.replace(" opacity=\"1\"", "").replace(" stroke=\"none\"", "").replace("\">\n", "\">");
    text = text.replace("\n</text>", "</text>").replace(" \"/>", "\"/>");
    for role in ColorRole::ALL {
        let (light, _) = role.colours();
        for (attribute, kind) in [("fill", ""), ("stroke", "s")] {
            let sentinel = format!("{attribute}=\"{}\"", role.sentinel());
            let themed = format!("{attribute}=\"#{light:06X}\" class=\"{}{kind}\"", role.class());
            text = text.replace(&sentinel, &themed);
        }
    }
    text
}

/// The rules that recolour figures for dark screens; on paper they stay light.
pub(crate) fn style() -> String {
    let mut css = String::from(
        ".cp-chart text{font-family:system-ui,-apple-system,\"Segoe UI\",Roboto,\"DejaVu Sans\",sans-serif;\
         font-variant-numeric:tabular-nums}\n@media screen and (prefers-color-scheme:dark){\n",
    );
    for role in ColorRole::ALL {
        let (_, dark) = role.colours();
        let class = role.class();
        css += &format!(".{class}{{fill:#{dark:06X}}} .{class}s{{stroke:#{dark:06X}}}\n");
    }
    css + "}\n"
}
