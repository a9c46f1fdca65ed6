//! CSV: records to rows, by the mapping.

use std::io::{self, Read};

use upkeep::rpc::v1::LicenseRow;

use super::mapping::{How, Source};
use super::records::{Cells, Records};
use super::{Field, FileError, Mapping, Numbered, Problem, TOO_LONG, unusable};

/// The rows of a CSV file.
pub struct CsvRows<R> {
    records: Records<R>,
    plan: Vec<Step>,
    constants: LicenseRow,
    columns: usize,
}

/// One field, and the places of its columns.
struct Step {
    field: Field,
    places: Vec<usize>,
    how: How,
    /// What errors call it.
    shown: String,
}

impl<R: Read> CsvRows<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`FileError::Header`] with everything that is wrong with it; [`FileError::Io`].
    pub fn open(source: R, mapping: &Mapping) -> Result<Self, FileError> {
        let mut records = Records::new(source, mapping.delimiter, mapping.quote);
        let header = match records.next_record()? {
            None => return Err(FileError::Header("the file is empty".to_owned())),
            Some((_, cells)) => header(cells)?,
        };
        let plan = match &mapping.columns {
            Some(sources) => mapped(sources, &header),
            None => named(mapping, &header),
        };
        let mut constants = LicenseRow::default();
        for (field, text) in &mapping.constants {
            // It was tried when the mapping was read.
            let _known = field.set(&mut constants, text);
        }
        Ok(Self {
            records,
            plan: plan.map_err(|wrong| FileError::Header(wrong.join("; ")))?,
            constants,
            columns: header.len(),
        })
    }

    /// The next row; none at the end. Lines without content are no rows.
    ///
    /// # Errors
    /// When reading fails.
    pub fn next_row(&mut self) -> io::Result<Option<Numbered>> {
        let Some((line, cells)) = self.records.next_record()? else {
            return Ok(None);
        };
        if matches!(cells, Cells::TooLong) {
            return Ok(Some(unusable(line, Problem::of_row(TOO_LONG))));
        }
        if cells.count() != self.columns {
            let why = format!(
                "has {} columns, the header has {}",
                cells.count(),
                self.columns
            );
            return Ok(Some(unusable(line, Problem::of_row(why))));
        }
        let mut row = self.constants.clone();
        let mut problems = Vec::new();
        let mut texts: Vec<&str> = Vec::new();
        for step in &self.plan {
            texts.clear();
            let cells = step.places.iter().map(|place| cells.get(*place));
            for cell in cells {
                match std::str::from_utf8(cell.unwrap_or_default()) {
                    Ok(text) => texts.push(text.trim()),
                    Err(_) => problems.push(Problem::new(&step.shown, "is no UTF-8")),
                }
            }
            if texts.len() < step.places.len() {
                continue;
            }
            let set = step.how.apply(&texts).and_then(|text| match text {
                None => Ok(()),
                Some(text) => step.field.set(&mut row, &text),
            });
            if let Err(why) = set {
                problems.push(Problem::new(&step.shown, why));
            }
        }
        Ok(Some(Numbered {
            line,
            row,
            problems,
        }))
    }
}

fn header(cells: Cells<'_>) -> Result<Vec<String>, FileError> {
    let mut names = Vec::with_capacity(cells.count());
    for place in 0..cells.count() {
        let cell = std::str::from_utf8(cells.get(place).unwrap_or_default());
        let name = cell.map_err(|_| FileError::Header("is no UTF-8".to_owned()))?;
        names.push(name.trim().to_owned());
    }
    if names.is_empty() {
        return Err(FileError::Header(TOO_LONG.to_owned()));
    }
    Ok(names)
}

/// The plan of a mapping; columns that it does not mention are left out.
fn mapped(sources: &[Source], header: &[String]) -> Result<Vec<Step>, Vec<String>> {
    let mut wrong = Vec::new();
    let mut plan = Vec::new();
    for source in sources {
        let mut places = Vec::new();
        for column in &source.columns {
            match place(header, column) {
                Ok(place) => places.push(place),
                Err(why) => wrong.push(format!("fields.{}: {why}", source.field.name())),
            }
        }
        plan.push(Step {
            field: source.field,
            places,
            how: source.how.clone(),
            shown: format!("{} ({})", source.field.name(), source.columns.join(", ")),
        });
    }
    if wrong.is_empty() {
        Ok(plan)
    } else {
        Err(wrong)
    }
}

/// The plan of a file whose columns have the names of fields: all of them have to.
fn named(mapping: &Mapping, header: &[String]) -> Result<Vec<Step>, Vec<String>> {
    let mut wrong = Vec::new();
    let mut plan: Vec<Step> = Vec::new();
    for (place, name) in header.iter().enumerate() {
        let Some(field) = Field::parse(name) else {
            wrong.push(format!(
                "there is no field {name:?}; map the columns with --mapping"
            ));
            continue;
        };
        let constant = mapping.constants.iter().any(|(own, _)| *own == field);
        if constant || plan.iter().any(|step| step.field == field) {
            wrong.push(format!("the field {name} is given twice"));
            continue;
        }
        plan.push(Step {
            field,
            places: vec![place],
            how: How::default(),
            shown: name.clone(),
        });
    }
    if wrong.is_empty() {
        Ok(plan)
    } else {
        Err(wrong)
    }
}

fn place(header: &[String], column: &str) -> Result<usize, String> {
    let mut places = header
        .iter()
        .enumerate()
        .filter(|(_, name)| *name == column)
        .map(|(place, _)| place);
    match (places.next(), places.next()) {
        (Some(place), None) => Ok(place),
        (Some(_), Some(_)) => Err(format!("there are two columns {column:?}")),
        (None, _) => Err(format!("there is no column {column:?}")),
    }
}
