//! The matrix of a manifest: its axes, and the points that remain after `exclude` and `include`.

use preceptor_core::record::AxisRecord;
use toml::{Table, Value};

use crate::error::ManifestError;
use crate::manifest::document::{Document, set_path};

/// Key of rules that exclude single seeds.
const SEED: &str = "seed";

/// Value on an axis.
#[derive(Clone, Debug, PartialEq)]
struct AxisValue {
    name: String,
    value: Value,
}

/// Axis: a key with its values.
#[derive(Clone, Debug)]
struct Axis {
    key: String,
    values: Vec<AxisValue>,
}

/// Axes of a manifest.
#[derive(Clone, Debug)]
pub(crate) struct Grid {
    axes: Vec<Axis>,
    exclude: Vec<Table>,
    include: Vec<Table>,
}

/// Point of the matrix: the name of its value on each axis, and the settings to apply.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Point {
    pub(crate) names: Vec<String>,
    values: Vec<(String, Value)>,
}

impl Point {
    /// Applies the point's settings to the manifest's table.
    pub(crate) fn apply(
        &self,
        table: &mut Table,
        document: &Document,
    ) -> Result<(), ManifestError> {
        for (key, value) in &self.values {
            set_path(table, key, value.clone()).map_err(|part| {
                document.error_at(&format!("matrix.{key}"), format!("`{part}` is not a table"))
            })?;
        }
        Ok(())
    }
}

impl Grid {
    /// Reads `[matrix]`, `[[exclude]]` and `[[include]]`, taking them out of `table`.
    pub(crate) fn take(table: &mut Table, document: &Document) -> Result<Self, ManifestError> {
        let mut axes = Vec::new();
        match table.remove("matrix") {
            None => {}
            Some(Value::Table(matrix)) => {
                for (key, values) in matrix {
                    let path = format!("matrix.{key}");
                    let Value::Array(values) = values else {
                        let detail = format!("axis `{key}` is an array of the values it takes");
                        return Err(document.error_at(&path, detail));
                    };
                    if values.is_empty() {
                        return Err(document.error_at(&path, format!("axis `{key}` has no value")));
                    }
                    let values = values.into_iter().enumerate();
                    let values = values
                        .map(|(i, value)| named(value, &format!("{path}.{i}"), document))
                        .collect::<Result<Vec<_>, _>>()?;
                    for (i, value) in values.iter().enumerate() {
                        if values[..i].iter().any(|other| other.name == value.name) {
                            let detail = format!("axis `{key}` has `{}` twice", value.name);
                            return Err(document.error_at(&format!("{path}.{i}"), detail));
                        }
                    }
                    axes.push(Axis { key, values });
                }
            }
            Some(_) => return Err(document.error_at("matrix", "`matrix` is a table of axes")),
        }
        let exclude = tables(table, "exclude", document)?;
        let include = tables(table, "include", document)?;
        let grid = Self { axes, exclude, include };
        for (list, rules) in [("exclude", &grid.exclude), ("include", &grid.include)] {
            for (i, rule) in rules.iter().enumerate() {
                for key in rule.keys() {
                    let is_seed = list == "exclude" && key == SEED;
                    if !is_seed && !grid.axes.iter().any(|axis| axis.key == *key) {
                        let axes: Vec<_> =
                            grid.axes.iter().map(|axis| format!("`{}`", axis.key)).collect();
                        let path = format!("{list}.{i}.{key}");
                        let mut error = document.error_at(&path, format!("`{key}` is not an axis"));
                        error.hint = Some(if axes.is_empty() {
                            "`[matrix]` has no axis".to_owned()
                        } else {
                            format!("axes are {}", axes.join(", "))
                        });
                        return Err(error);
                    }
                }
            }
        }
        Ok(grid)
    }

    /// Returns the axes for the plan's record.
    pub(crate) fn axes(&self) -> Vec<AxisRecord> {
        let record = |axis: &Axis| AxisRecord {
            key: axis.key.clone(),
            values: axis.values.iter().map(|value| value.name.clone()).collect(),
        };
        self.axes.iter().map(record).collect()
    }

    /// Returns every point; the last axis varies fastest.
    pub(crate) fn points(&self, document: &Document) -> Result<Vec<Point>, ManifestError> {
        let mut points = vec![Point { names: Vec::new(), values: Vec::new() }];
        for axis in &self.axes {
            let extended = points.iter().flat_map(|point| {
                axis.values.iter().map(move |value| {
                    let mut point = point.clone();
                    point.names.push(value.name.clone());
                    point.values.push((axis.key.clone(), value.value.clone()));
                    point
                })
            });
            points = extended.collect();
        }
        let of_all_seeds = || self.exclude.iter().filter(|rule| !rule.contains_key(SEED));
        points.retain(|point| !of_all_seeds().any(|rule| self.matches(rule, point)));
        for (i, rule) in self.include.iter().enumerate() {
            let mut point = Point { names: Vec::new(), values: Vec::new() };
            for axis in &self.axes {
                let Some(value) = rule.get(&axis.key) else {
                    let detail = format!("an included point needs a value for `{}`", axis.key);
                    return Err(document.error_at(&format!("include.{i}"), detail));
                };
                let path = format!("include.{i}.{}", axis.key);
                let known = axis.values.iter().find(|v| Some(v.name.as_str()) == value.as_str());
                let value = match known {
                    Some(known) => known.clone(),
                    None => named(value.clone(), &path, document)?,
                };
                point.names.push(value.name);
                point.values.push((axis.key.clone(), value.value));
            }
            if !points.contains(&point) {
                points.push(point);
            }
        }
        Ok(points)
    }

    /// Returns true if a rule with a seed excludes `point` for this seed.
    pub(crate) fn excludes(&self, point: &Point, seed: u64) -> bool {
        let of_seeds = self.exclude.iter().filter(|rule| rule.contains_key(SEED));
        of_seeds
            .into_iter()
            .any(|rule| names_of(&rule[SEED], &seed.to_string()) && self.matches(rule, point))
    }

    /// Returns true if `point` has the values on axes that a rule names.
    fn matches(&self, rule: &Table, point: &Point) -> bool {
        rule.iter().filter(|(key, _)| *key != SEED).all(|(key, wanted)| {
            let axis = self.axes.iter().position(|axis| axis.key == *key);
            names_of(wanted, &point.names[axis.expect("keys of rules were checked to be axes")])
        })
    }
}

/// Returns true if a rule's value is the one called `name`, or has it among several.
fn names_of(wanted: &Value, name: &str) -> bool {
    match wanted {
        Value::Array(several) => several.iter().any(|wanted| display(wanted) == name),
        wanted => display(wanted) == name,
    }
}

/// Returns a value with its name: that of a table is under `name`, any other value is its own.
fn named(value: Value, path: &str, document: &Document) -> Result<AxisValue, ManifestError> {
    match value {
        Value::Table(mut table) => match table.remove("name") {
            Some(Value::String(name)) => Ok(AxisValue { name, value: Value::Table(table) }),
            _ => Err(document.error_at(path, "a table on an axis needs `name = \"..\"`")),
        },
        value => Ok(AxisValue { name: display(&value), value }),
    }
}

fn display(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn tables(table: &mut Table, key: &str, document: &Document) -> Result<Vec<Table>, ManifestError> {
    let wrong =
        || document.error_at(key, format!("`{key}` is written `[[{key}]]`, once for each rule"));
    match table.remove(key) {
        None => Ok(Vec::new()),
        Some(Value::Array(items)) => {
            items.into_iter().map(|item| item.try_into().map_err(|_| wrong())).collect()
        }
        Some(_) => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::document;

    const AXES: &str = "[matrix]\na = [\"x\", \"y\"]\nb = [1, 2, 3]\n";

    fn grid(rules: &str) -> Result<(Document, Grid), ManifestError> {
        let document = document(&[("m.toml", &format!("{AXES}{rules}"))], &[])?;
        let grid = Grid::take(&mut document.table().clone(), &document)?;
        Ok((document, grid))
    }

    /// Names of the points, joined.
    fn points(rules: &str) -> Result<Vec<String>, ManifestError> {
        let (document, grid) = grid(rules)?;
        Ok(grid.points(&document)?.iter().map(|point| point.names.join("")).collect())
    }

    #[test]
    fn points_are_the_product_of_the_axes_and_the_last_axis_varies_fastest() {
        assert_eq!(points("").unwrap(), ["x1", "x2", "x3", "y1", "y2", "y3"]);
        let empty = document(&[("m.toml", "")], &[]).unwrap();
        let grid = Grid::take(&mut Table::new(), &empty).unwrap();
        assert_eq!(grid.points(&empty).unwrap().len(), 1, "no axis: the manifest itself");
    }

    #[test]
    fn a_rule_excludes_the_points_that_have_one_of_its_values_on_every_axis_it_names() {
        let rules = "[[exclude]]\na = \"x\"\nb = [1, 3]\n[[exclude]]\nb = 2\n";
        assert_eq!(points(rules).unwrap(), ["y1", "y3"]);
    }

    #[test]
    fn a_rule_with_seeds_excludes_these_seeds_only() {
        let (document, grid) = grid("[[exclude]]\na = \"x\"\nseed = [1, 2]\n").unwrap();
        let points = grid.points(&document).unwrap();
        assert_eq!(points.len(), 6);
        let excluded = |point: usize| {
            (0..4).filter(|seed| grid.excludes(&points[point], *seed)).collect::<Vec<u64>>()
        };
        assert_eq!((excluded(0), excluded(3)), (vec![1, 2], vec![]));
    }

    #[test]
    fn included_points_come_last_and_none_comes_twice() {
        let rules = "[[include]]\na = \"y\"\nb = 3\n[[include]]\na = \"z\"\nb = 9\n";
        assert_eq!(points(rules).unwrap(), ["x1", "x2", "x3", "y1", "y2", "y3", "z9"]);
        let excluded = "[[exclude]]\na = [\"x\", \"y\"]\n[[include]]\na = \"y\"\nb = 3\n";
        assert_eq!(points(excluded).unwrap(), ["y3"]);
        let error = points("[[include]]\na = \"x\"\n").unwrap_err();
        assert_eq!(error.detail, "an included point needs a value for `b`");
    }

    #[test]
    fn a_rule_about_an_unknown_axis_is_refused_with_the_known_ones() {
        let error = points("[[exclude]]\nc = 1\n").unwrap_err();
        assert_eq!(error.detail, "`c` is not an axis");
        assert_eq!(error.hint.as_deref(), Some("axes are `a`, `b`"));
        assert!(error.location.ends_with("line 5"), "{}", error.location);
    }
}
