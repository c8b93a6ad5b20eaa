//! `rump net sysctl`.

use super::{Context, errno};
use crate::{
    json::Array,
    output::Out,
    report::{Failure, Outcome},
};
use clap::Args;
use rumpkern::{Kernel, sysctl::Value};
use serde_json::json;
use std::io::Write as _;

/// Show and change settings of the stack
///
/// NAME shows a value, or all whose names begin with it and a dot; NAME=VALUE sets one, which counts for what is begun after it. Without words,
/// all.
#[derive(Args, Debug)]
pub(crate) struct Sysctl {
    /// All (as without a name)
    #[arg(short = 'a', conflicts_with = "words")]
    all: bool,
    /// Values without their names
    #[arg(short = 'n', conflicts_with = "json")]
    values: bool,
    /// A JSON array
    #[arg(long)]
    json: bool,
    /// What is shown or set
    #[arg(value_name = "NAME[=VALUE]")]
    words: Vec<String>,
}

impl Sysctl {
    /// Runs it.
    ///
    /// # Errors
    /// There is no such name; the value cannot be.
    pub(crate) fn run(&self, context: &Context<'_>) -> Outcome<()> {
        let kernel = context.net.kernel();
        let mut shown = Vec::new();
        if self.words.is_empty() {
            shown = kernel.sysctl_names("");
        }
        for word in &self.words {
            match word.split_once('=') {
                Some((name, value)) => set(&kernel, name, value)?,
                None => shown.extend(names(&kernel, word)?),
            }
        }
        let mut out = Out::new();
        if self.json {
            let mut array = Array::new(&mut out)?;
            for name in shown {
                let value = match kernel.sysctl(&name).map_err(errno(&name))? {
                    Value::Number(number) => json!(number),
                    Value::Text(text) => json!(text),
                };
                array.push(&json!({"name": name, "value": value}))?;
            }
            array.end()?;
        } else {
            for name in shown {
                let value = kernel.sysctl(&name).map_err(errno(&name))?;
                if self.values {
                    writeln!(out, "{value}")?;
                } else {
                    writeln!(out, "{name} = {value}")?;
                }
            }
        }
        out.flush()?;
        Ok(())
    }
}

/// A name, or those that it is the beginning of.
fn names(kernel: &Kernel, name: &str) -> Outcome<Vec<String>> {
    if kernel.sysctl(name).is_ok() {
        return Ok(vec![name.to_owned()]);
    }
    let below = kernel.sysctl_names(&format!("{name}."));
    if below.is_empty() {
        return Err(Failure::at(name, "no such name"));
    }
    Ok(below)
}

/// Sets a value to one of the kind that it has.
fn set(kernel: &Kernel, name: &str, value: &str) -> Outcome<()> {
    let before = kernel.sysctl(name);
    let before = before.map_err(|_| Failure::at(name, "no such name"))?;
    let value = match before {
        Value::Text(_) => Value::Text(value.to_owned()),
        Value::Number(_) => value
            .parse()
            .map(Value::Number)
            .map_err(|_| Failure::Usage(format!("{name}: {value}: not a number")))?,
    };
    kernel.sysctl_set(name, value).map_err(errno(name))
}
