//! Which crash state: enough to get there again.

use super::state::Cut;
use rumpuser_sim::Loss;
use std::{fmt, str::FromStr};

/// A power cut: after so many changes of the medium; what becomes of those that were not flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerCut {
    /// Changes before it.
    pub after: Cut,
    /// What becomes of those that were not flushed.
    pub loss: Loss,
    /// Chooses which.
    pub seed: u64,
}

/// A crash state of a volume. As text: `atomic-save:1654fe5f:120:any:b3f798f0`, and the second cut behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// Name of the workload.
    pub workload: String,
    /// The seed of its run.
    pub seed: u64,
    /// The cut.
    pub cut: PowerCut,
    /// The cut in what the mount after it did.
    pub again: Option<PowerCut>,
}

impl fmt::Display for PowerCut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let loss = format!("{:?}", self.loss).to_lowercase();
        write!(f, "{}:{loss}:{:x}", self.after, self.seed)
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:x}:{}", self.workload, self.seed, self.cut)?;
        match &self.again {
            Some(again) => write!(f, ":{again}"),
            None => Ok(()),
        }
    }
}

fn cut([after, loss, seed]: [&str; 3]) -> Option<PowerCut> {
    let named = |kind: &Loss| format!("{kind:?}").eq_ignore_ascii_case(loss);
    Some(PowerCut {
        after: after.parse().ok()?,
        loss: Loss::KINDS.into_iter().find(named)?,
        seed: u64::from_str_radix(seed, 16).ok()?,
    })
}

impl FromStr for Point {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(':').collect();
        let parsed = match parts[..] {
            [workload, seed, a, b, c] => Some((workload, seed, cut([a, b, c]), None)),
            [workload, seed, a, b, c, d, e, f] => {
                Some((workload, seed, cut([a, b, c]), Some(cut([d, e, f]))))
            }
            _ => None,
        };
        let point = parsed.and_then(|(workload, seed, cut, again)| {
            Some(Self {
                workload: workload.to_owned(),
                seed: u64::from_str_radix(seed, 16).ok()?,
                cut: cut?,
                again: match again {
                    Some(again) => Some(again?),
                    None => None,
                },
            })
        });
        point.ok_or_else(|| format!("{text} names no crash state"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_its_text() {
        let cut = PowerCut {
            after: 120,
            loss: Loss::Any,
            seed: 0xb3f7,
        };
        let again = PowerCut {
            after: 11,
            loss: Loss::Sectors,
            seed: u64::MAX,
        };
        for again in [None, Some(again)] {
            let point = Point {
                workload: "atomic-save".into(),
                seed: 0x1654,
                cut,
                again,
            };
            assert_eq!(point.to_string().parse(), Ok(point));
        }
        for wrong in [
            "",
            "a:1:2:any",
            "a:1:2:none:g",
            "a:1:2:some:3",
            "a:1:2:any:3:4",
        ] {
            assert!(wrong.parse::<Point>().is_err(), "{wrong}");
        }
    }
}
