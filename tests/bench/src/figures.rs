//! The figures of a run, as JSON and as tables.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};

use crate::{middle, sorted};

/// One figure over all rounds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Self {
        let sorted = sorted(values);
        Self {
            median: middle(&sorted),
            min: sorted.first().copied().unwrap_or_default(),
            max: sorted.last().copied().unwrap_or_default(),
        }
    }

    pub(crate) fn json(self) -> Value {
        let Self { median, min, max } = self;
        json!({ "median": median, "min": min, "max": max })
    }
}

/// Calls beside their floor: one line for each round.
pub(crate) struct Beside {
    /// What is measured: `activate_warm_512`.
    pub(crate) name: String,
    /// For people.
    pub(crate) title: String,
    /// The ratio that is aimed at, where there is one.
    pub(crate) goal: Option<f64>,
    pub(crate) rounds: Vec<Round>,
}

/// One round: CPU time in microseconds for one request, and requests in a second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    pub(crate) floor_us: f64,
    pub(crate) server_us: f64,
    pub(crate) per_second: f64,
}

impl Beside {
    fn json(&self) -> Value {
        let rounds = || self.rounds.iter();
        json!({
            "name": self.name,
            "title": self.title,
            "goal": self.goal,
            "rounds": self.rounds.len(),
            "floor_us": Spread::of(rounds().map(|round| round.floor_us)).json(),
            "server_us": Spread::of(rounds().map(|round| round.server_us)).json(),
            "per_second": Spread::of(rounds().map(|round| round.per_second)).json(),
            "ratio": Spread::of(rounds().map(|round| round.floor_us / round.server_us)).json(),
            "errors": 0,
        })
    }
}

/// A figure that stands by itself.
pub(crate) struct Single {
    pub(crate) name: &'static str,
    pub(crate) title: String,
    pub(crate) value: Spread,
    pub(crate) unit: &'static str,
    pub(crate) goal: Option<&'static str>,
}

impl Single {
    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "title": self.title,
            "value": self.value.json(),
            "unit": self.unit,
            "goal": self.goal,
        })
    }
}

/// All of a run.
pub(crate) struct Figures(Value);

impl Figures {
    pub(crate) fn new(quick: bool, beside: &[Beside], single: &[Single]) -> Self {
        Self(json!({
            "quick": quick,
            "machine": machine(),
            "calls": beside.iter().map(Beside::json).collect::<Vec<_>>(),
            "figures": single.iter().map(Single::json).collect::<Vec<_>>(),
        }))
    }

    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("{} can't be read", path.display()))?;
        Ok(Self(serde_json::from_str(&text)?))
    }

    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        std::fs::write(path, format!("{:#}\n", self.0))
            .with_context(|| format!("{} can't be written", path.display()))
    }

    /// The two tables of README.
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::from(
            "| call | floor, us | server, us | floor / server (min to max) | goal | per second |\n\
             | --- | --- | --- | --- | --- | --- |\n",
        );
        let number = |value: &Value, path: &str| {
            value
                .pointer(path)
                .and_then(Value::as_f64)
                .unwrap_or(f64::NAN)
        };
        let said = |value: &Value, path: &str| {
            let said = value.pointer(path).and_then(Value::as_str);
            said.unwrap_or_default().to_owned()
        };
        // Writing into a string cannot fail.
        for call in self.list("/calls") {
            let goal = call.pointer("/goal").and_then(Value::as_f64);
            let goal = goal.map_or_else(String::new, |goal| format!("{goal:.2}"));
            let _ = writeln!(
                text,
                "| {} | {:.0} | {:.0} | {:.2} ({:.2} to {:.2}) | {goal} | {:.0} |",
                said(call, "/title"),
                number(call, "/floor_us/median"),
                number(call, "/server_us/median"),
                number(call, "/ratio/median"),
                number(call, "/ratio/min"),
                number(call, "/ratio/max"),
                number(call, "/per_second/median"),
            );
        }
        text.push_str("\n| what | measured | goal |\n| --- | --- | --- |\n");
        for figure in self.list("/figures") {
            let digits = match number(figure, "/value/median") {
                value if value.abs() >= 100.0 => 0,
                value if value.abs() >= 10.0 => 1,
                _ => 2,
            };
            let _ = writeln!(
                text,
                "| {} | {:.digits$} {} | {} |",
                said(figure, "/title"),
                number(figure, "/value/median"),
                said(figure, "/unit"),
                said(figure, "/goal"),
            );
        }
        text
    }

    fn list(&self, path: &str) -> &[Value] {
        let list = self.0.pointer(path).and_then(Value::as_array);
        list.map(Vec::as_slice).unwrap_or_default()
    }
}

/// Processor and number of cores.
pub(crate) fn machine() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map(|rest| rest.trim_start_matches(['\t', ' ', ':']).to_owned());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "{}, {cores} cores",
        model.unwrap_or_else(|| "unknown processor".to_owned())
    )
}
