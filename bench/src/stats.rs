//! Medians and spread.

use serde::Serialize;

/// The results of many runs, in microseconds unless a field's name has another unit.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Summary {
    /// Half of the runs gave less.
    pub(crate) median: f64,
    /// First quartile.
    pub(crate) low: f64,
    /// Third quartile.
    pub(crate) high: f64,
    /// Number of runs.
    pub(crate) runs: usize,
}

impl Summary {
    /// Of `values`; none of an empty list.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |part: f64| -> Option<f64> {
            let place = part * (sorted.len().checked_sub(1)?) as f64;
            let (low, high) = (*sorted.get(place.floor() as usize)?, *sorted.get(place.ceil() as usize)?);
            Some(low + (high - low) * place.fract())
        };
        Some(Summary { median: at(0.5)?, low: at(0.25)?, high: at(0.75)?, runs: values.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles() {
        let summary = Summary::of(&[5.0, 1.0, 4.0, 2.0, 3.0]).map(|s| (s.low, s.median, s.high, s.runs));
        assert_eq!(summary, Some((2.0, 3.0, 4.0, 5)));
        assert_eq!(Summary::of(&[1.0, 2.0]).map(|s| s.median), Some(1.5));
        assert!(Summary::of(&[]).is_none());
    }
}
