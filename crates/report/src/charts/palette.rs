//! Colours by role, and the embedded font.
//!
//! A picture is drawn once with sentinel colours. For SVG each is then replaced by the light theme's colour
//! and a class, so that a style sheet can recolour it for dark screens while viewers without CSS still see
//! a right picture; for bitmaps the light colours are used directly.

use std::sync::OnceLock;

use plotters::style::{FontStyle, RGBColor, register_font};

use super::super::ReportError;

/// What a colour means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ColorRole {
    Background,
    Text,
    Muted,
    Grid,
    Band,
    Fault,
    Cached,
    Uncached,
    Hit,
    Miss,
    StaleServed,
    Bypass,
    Fallback,
    Plain,
    Error,
    Wrong,
    Pass,
    Inconclusive,
}

impl ColorRole {
    pub const ALL: [Self; 18] = [
        Self::Background,
        Self::Text,
        Self::Muted,
        Self::Grid,
        Self::Band,
        Self::Fault,
        Self::Cached,
        Self::Uncached,
        Self::Hit,
        Self::Miss,
        Self::StaleServed,
        Self::Bypass,
        Self::Fallback,
        Self::Plain,
        Self::Error,
        Self::Wrong,
        Self::Pass,
        Self::Inconclusive,
    ];

    /// Hexadecimal colours on light and on dark paper.
    pub fn colours(self) -> (u32, u32) {
        match self {
            Self::Background => (0xFF_FF_FF, 0x15_18_1D),
            Self::Text => (0x1F_29_33, 0xE6_E9_EE),
            Self::Muted => (0x55_60_6C, 0xA3_AE_BA),
            Self::Grid => (0xDD_E2_E8, 0x34_3B_45),
            Self::Band => (0xE9_ED_F2, 0x26_2C_35),
            Self::Fault => (0xD5_4E_00, 0xFF_97_52),
            Self::Cached => (0x0B_5F_C2, 0x6C_B2_FF),
            Self::Uncached => (0xA8_4F_00, 0xF0_A2_4A),
            Self::Hit => (0x0A_8A_62, 0x2F_B5_88),
            Self::Miss => (0xE0_A1_1B, 0xE9_B9_49),
            Self::StaleServed => (0x8A_55_CC, 0xB9_8C_F2),
            Self::Bypass => (0xA0_6A_3C, 0xB8_80_50),
            Self::Fallback => (0x4A_8F_E0, 0x5B_9A_E6),
            Self::Plain => (0xB4_BD_C7, 0x5E_69_76),
            Self::Error => (0xC8_1E_1E, 0xFF_5C_5C),
            Self::Wrong => (0x7A_0B_52, 0xFF_7A_CD),
            Self::Pass => (0x0A_70_50, 0x4C_D1_A1),
            Self::Inconclusive => (0x8A_5A_00, 0xF2_C1_4E),
        }
    }

    /// Its class in SVG, `cp-3`.
    pub fn class(self) -> String {
        format!("cp-{}", self as u8)
    }

    /// The sentinel as plotters writes it: `#0102NN`, a near-black that nobody draws with.
    pub fn sentinel(self) -> String {
        format!("#0102{:02X}", self as u8)
    }
}

/// Which colours a picture is drawn with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Palette {
    /// Sentinels, to be replaced in the SVG's text.
    Sentinel,
    /// The light theme.
    Light,
}

impl Palette {
    pub fn colour(self, role: ColorRole) -> RGBColor {
        match self {
            Self::Sentinel => RGBColor(1, 2, role as u8),
            Self::Light => {
                let [_, red, green, blue] = role.colours().0.to_be_bytes();
                RGBColor(red, green, blue)
            }
        }
    }
}

/// The family that every text is set in.
pub(crate) const FONT: &str = "sans-serif";

/// The embedded fonts.
pub(crate) const REGULAR: &[u8] = include_bytes!("../../assets/fonts/DejaVuSans-subset.ttf");
pub(crate) const BOLD: &[u8] = include_bytes!("../../assets/fonts/DejaVuSans-Bold-subset.ttf");

/// Gives plotters its fonts, once. Also SVG needs them: text is measured with them.
pub(crate) fn prepare_fonts() -> Result<(), ReportError> {
    static READY: OnceLock<bool> = OnceLock::new();
    let ready = READY.get_or_init(|| {
        register_font(FONT, FontStyle::Normal, REGULAR).is_ok() && register_font(FONT, FontStyle::Bold, BOLD).is_ok()
    });
    if *ready { Ok(()) } else { Err(ReportError::Draw("the embedded font can't be read".to_owned())) }
}
