//! A bitmap of twice the pixels, with text set by the font's own metrics.
//!
//! plotters' own bitmap text drops each glyph's left bearing and rounds every position to a whole pixel, which
//! makes uneven gaps within words at the sizes that charts use.

use ab_glyph::{Font, FontRef, PxScale, ScaleFont as _, point};
use plotters::backend::BitMapBackend;
use plotters_backend::text_anchor::{HPos, VPos};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind, FontStyle,
};

use super::palette::{BOLD, REGULAR};

/// Pixels a side for each pixel of the drawing.
pub(super) const SCALE: u32 = 2;
const SCALE_I32: i32 = SCALE as i32;

/// Draws into RGB pixels, [`SCALE`] times as large as the drawing says.
pub(super) struct Bitmap<'a> {
    inner: BitMapBackend<'a>,
    size: (u32, u32),
    regular: FontRef<'static>,
    bold: FontRef<'static>,
}

impl<'a> Bitmap<'a> {
    /// `pixels` holds three bytes for each of `size` times [`SCALE`] squared. `None` where the embedded font can't
    /// be read.
    pub fn new(pixels: &'a mut [u8], size: (u32, u32)) -> Option<Self> {
        Some(Self {
            inner: BitMapBackend::with_buffer(pixels, (size.0 * SCALE, size.1 * SCALE)),
            size,
            regular: FontRef::try_from_slice(REGULAR).ok()?,
            bold: FontRef::try_from_slice(BOLD).ok()?,
        })
    }
}

/// A style with lines as many times as wide.
struct ScaledStyle<'a, S>(&'a S);

impl<S: BackendStyle> BackendStyle for ScaledStyle<'_, S> {
    fn color(&self) -> BackendColor {
        self.0.color()
    }

    fn stroke_width(&self) -> u32 {
        self.0.stroke_width() * SCALE
    }
}

fn scaled_up((x, y): BackendCoord) -> BackendCoord {
    (x * SCALE_I32, y * SCALE_I32)
}

type DrawResult<E> = Result<(), DrawingErrorKind<E>>;
type Error = <BitMapBackend<'static> as DrawingBackend>::ErrorType;

impl DrawingBackend for Bitmap<'_> {
    type ErrorType = Error;

    fn get_size(&self) -> (u32, u32) {
        self.size
    }

    fn ensure_prepared(&mut self) -> DrawResult<Error> {
        self.inner.ensure_prepared()
    }

    fn present(&mut self) -> DrawResult<Error> {
        self.inner.present()
    }

    fn draw_pixel(&mut self, point: BackendCoord, color: BackendColor) -> DrawResult<Error> {
        let (x, y) = scaled_up(point);
        self.inner.draw_rect((x, y), (x + SCALE_I32 - 1, y + SCALE_I32 - 1), &color, true)
    }

    fn draw_line<S: BackendStyle>(&mut self, from: BackendCoord, to: BackendCoord, style: &S) -> DrawResult<Error> {
        // A path, because plotters draws lines one pixel wide whatever their style says.
        self.draw_path([from, to], style)
    }

    fn draw_rect<S: BackendStyle>(
        &mut self,
        upper_left: BackendCoord,
        bottom_right: BackendCoord,
        style: &S,
        fill: bool,
    ) -> DrawResult<Error> {
        self.inner.draw_rect(scaled_up(upper_left), scaled_up(bottom_right), &ScaledStyle(style), fill)
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        path: I,
        style: &S,
    ) -> DrawResult<Error> {
        self.inner.draw_path(path.into_iter().map(scaled_up), &ScaledStyle(style))
    }

    fn draw_circle<S: BackendStyle>(
        &mut self,
        center: BackendCoord,
        radius: u32,
        style: &S,
        fill: bool,
    ) -> DrawResult<Error> {
        self.inner.draw_circle(scaled_up(center), radius * SCALE, &ScaledStyle(style), fill)
    }

    fn fill_polygon<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        path: I,
        style: &S,
    ) -> DrawResult<Error> {
        self.inner.fill_polygon(path.into_iter().map(scaled_up), &ScaledStyle(style))
    }

    fn draw_text<S: BackendTextStyle>(&mut self, text: &str, style: &S, pos: BackendCoord) -> DrawResult<Error> {
        let font = if matches!(style.style(), FontStyle::Bold) { &self.bold } else { &self.regular };
        // As in SVG: plotters' size is the line's height, 1.24 of an em.
        let em = (style.size() / 1.24) as f32 * SCALE as f32;
        let units = font.units_per_em().unwrap_or(1_000.0);
        let scaled = font.as_scaled(PxScale::from(em * font.height_unscaled() / units));
        let mut glyphs = Vec::new();
        let (mut x, mut before) = (0.0, None);
        for letter in text.chars() {
            let id = scaled.glyph_id(letter);
            x += before.map_or(0.0, |before| scaled.kern(before, id));
            glyphs.push((id, x));
            x += scaled.h_advance(id);
            before = Some(id);
        }
        let (left, top) = scaled_up(pos);
        let left = left as f32
            - match style.anchor().h_pos {
                HPos::Left => 0.0,
                HPos::Center => x / 2.0,
                HPos::Right => x,
            };
        // The offsets that plotters writes into SVG, so that both look alike.
        let baseline = top as f32
            + em * match style.anchor().v_pos {
                VPos::Top => 0.76,
                VPos::Center => 0.27,
                VPos::Bottom => -0.27,
            };
        let color = style.color();
        for (id, x) in glyphs {
            let glyph = id.with_scale_and_position(scaled.scale(), point(left + x, baseline));
            let Some(outline) = font.outline_glyph(glyph) else { continue };
            let bounds = outline.px_bounds();
            let (left, top) = (bounds.min.x as i32, bounds.min.y as i32);
            let mut result: Result<(), DrawingErrorKind<Error>> = Ok(());
            outline.draw(|x, y, coverage| {
                let ink = BackendColor { alpha: color.alpha * f64::from(coverage.clamp(0.0, 1.0)), ..color };
                if result.is_ok() && ink.alpha > 0.0 {
                    result = self.inner.draw_pixel((left + x as i32, top + y as i32), ink);
                }
            });
            result?;
        }
        Ok(())
    }
}
