//! Where a template failed, with its line.

use std::fmt;

/// Longest part of a line that is shown, in bytes.
const WIDTH: usize = 160;

/// A failed template.
#[derive(Debug)]
pub(super) struct Report {
    text: String,
    place: Option<Place>,
}

#[derive(Debug)]
struct Place {
    /// Which template.
    template: String,
    line: usize,
    /// From 1, in characters.
    column: usize,
    /// The line of the template, and how many of its characters are before the place.
    excerpt: String,
    before: usize,
}

// === impl Report ===

impl Report {
    pub(super) fn new(text: String) -> Self {
        Self { text, place: None }
    }

    /// Points at a line (from 1) and column (bytes, from 0) of `text`, which is the template called `template`.
    pub(super) fn at(mut self, template: &str, text: &[u8], position: (usize, usize)) -> Self {
        let (line, column) = position;
        let excerpt = text
            .split(|byte| *byte == b'\n')
            .nth(line.saturating_sub(1))
            .unwrap_or_default();
        let column = column.min(excerpt.len());
        // A long line is shown around the place.
        let start = column.saturating_sub(WIDTH / 2);
        let end = excerpt.len().min(start + WIDTH);
        let shown = |from: usize, to: usize| {
            String::from_utf8_lossy(excerpt.get(from..to).unwrap_or_default())
                .trim_end_matches('\r')
                .replace('\t', " ")
        };
        self.place = Some(Place {
            template: template.to_owned(),
            line,
            column: String::from_utf8_lossy(&excerpt[..column]).chars().count() + 1,
            excerpt: shown(start, end),
            before: shown(start, column).chars().count(),
        });
        self
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)?;
        let Some(place) = &self.place else {
            return Ok(());
        };
        let number = place.line.to_string();
        let gap = " ".repeat(number.len());
        write!(
            formatter,
            "\n{gap}--> {}, line {number}, column {}\n{gap} |\n{number} | {}\n{gap} | {}^",
            place.template,
            place.column,
            place.excerpt,
            " ".repeat(place.before),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_shown_with_its_line_and_a_caret() {
        let report =
            |text: &str, position| Report::new("why".to_owned()).at("k", text.as_bytes(), position);
        assert_eq!(
            report("a\n{{ .x }}\n", (2, 3)).to_string(),
            "why\n --> k, line 2, column 4\n  |\n2 | {{ .x }}\n  |    ^"
        );
        assert_eq!(
            report("\tä {{ .x }}\r\n", (1, 7)).to_string(),
            "why\n --> k, line 1, column 7\n  |\n1 |  ä {{ .x }}\n  |       ^"
        );
        // A place that is not there points at the end.
        assert_eq!(
            report("ab", (1, 9)).to_string(),
            "why\n --> k, line 1, column 3\n  |\n1 | ab\n  |   ^"
        );
        let long = format!("{}{{{{ .x }}}}", "x".repeat(1000));
        let shown = report(&long, (1, 1003)).to_string();
        assert!(shown.contains("column 1004") && shown.lines().all(|line| line.len() < 200));
        assert_eq!(Report::new("why".to_owned()).to_string(), "why");
    }
}
