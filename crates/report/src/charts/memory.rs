//! Memory that Redis used, beside its limit.

use cacheproof_core::measurements::Measurements;
use cacheproof_core::numbers;

use super::axis::Axis;
use super::palette::ColorRole;
use super::plot::{Layer, Plot, Shape};
use super::thin::thin_runs;
use super::timeline::Timeline;

pub(super) fn plot(measurements: &Measurements, timeline: &Timeline) -> Option<Plot> {
    let mut readings: Vec<Option<(f64, f64)>> = Vec::new();
    let (mut high, mut limit) = (0.0f64, 0);
    for (at, sample) in &measurements.samples {
        if let Some(redis) = &sample.redis {
            limit = limit.max(redis.max_memory.unwrap_or(0));
            high = high.max(redis.memory.unwrap_or(0) as f64);
        }
        if *at >= timeline.from && *at <= timeline.to {
            readings.push(sample.redis.as_ref().and_then(|redis| Some((*at, redis.memory? as f64))));
        }
    }
    let runs = thin_runs(&readings);
    if runs.is_empty() {
        return None;
    }
    let used = Layer { name: "used".to_owned(), role: ColorRole::Cached, shape: Shape::Line { dash: (1, 0), runs } };
    let mut layers = vec![used];
    let mut about = format!("Memory that Redis used, at most {}", numbers::bytes(high));
    if limit > 0 {
        about += &format!(" of {}", numbers::bytes(limit as f64));
        // A limit far above what is used would flatten the line.
        if limit as f64 <= high * 4.0 {
            high = high.max(limit as f64);
            let ends = vec![(timeline.from, limit as f64), (timeline.to, limit as f64)];
            let shape = Shape::Line { dash: (3, 4), runs: vec![ends] };
            layers.push(Layer { name: "maxmemory".to_owned(), role: ColorRole::Error, shape });
        }
    }
    let title = match limit {
        0 => "Redis memory".to_owned(),
        limit => format!("Redis memory (maxmemory {})", numbers::bytes(limit as f64)),
    };
    Some(Plot {
        file: "redis-memory",
        title,
        about: about + ".",
        x_label: "seconds since the run began",
        x: Axis::seconds(timeline.from, timeline.to),
        y: Axis::bytes(high),
        timeline: Some(timeline.clone()),
        layers,
    })
}
