//! The parts of a document for a reader who follows it: blocks in fences, code in running text, rows of
//! tables. Supports only the Markdown that the documents use.

/// A block between fences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    /// The text after the opening fence: a language and, for transcripts, `terminal N`.
    pub(crate) info: String,
    pub(crate) lines: Vec<String>,
    /// Number of the first line, counted from 1.
    pub(crate) at: usize,
}

/// The blocks of a document in their order.
///
/// # Panics
/// If a fence is not closed.
pub(crate) fn blocks(text: &str) -> Vec<Block> {
    let (mut found, mut open): (Vec<Block>, Option<Block>) = (Vec::new(), None);
    for (number, line) in (1..).zip(text.lines()) {
        match (line.strip_prefix("```"), open.take()) {
            (Some(info), None) => {
                open = Some(Block { info: info.to_owned(), lines: Vec::new(), at: number + 1 });
            }
            (Some(_), Some(block)) => found.push(block),
            (None, Some(mut block)) => {
                block.lines.push(line.to_owned());
                open = Some(block);
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a fence is not closed: {open:?}");
    found
}

/// Code in running text and in tables, also across line breaks.
///
/// # Panics
/// If a paragraph has a backtick without another one.
pub(crate) fn spans(text: &str) -> Vec<String> {
    let mut fenced = false;
    let mut paragraphs = vec![String::new()];
    for line in text.lines() {
        fenced ^= line.starts_with("```");
        if line.is_empty() || fenced || line.starts_with("```") {
            paragraphs.push(String::new());
        } else if let Some(paragraph) = paragraphs.last_mut() {
            *paragraph += &format!("{line} ");
        }
    }
    paragraphs.iter().flat_map(|paragraph| code(paragraph)).collect()
}

/// The code in one line of text.
pub(crate) fn code(text: &str) -> Vec<String> {
    assert!(text.matches('`').count().is_multiple_of(2), "a backtick is left over: {text}");
    text.split('`').skip(1).step_by(2).map(|span| span.replace("\\|", "|")).collect()
}

/// The rows of the table with that head, as the texts of their cells.
///
/// # Panics
/// If there is no such table.
pub(crate) fn table(text: &str, head: &str) -> Vec<Vec<String>> {
    let mut lines = text.lines().skip_while(|line| *line != head).skip(2);
    let rows: Vec<_> = lines.by_ref().take_while(|line| line.starts_with('|')).map(cells).collect();
    assert!(!rows.is_empty(), "no table begins with {head}");
    rows
}

fn cells(row: &str) -> Vec<String> {
    let row = row.trim_start_matches('|').trim_end_matches('|').replace("\\|", "\u{0}");
    row.split('|').map(|cell| cell.trim().replace('\u{0}', "\\|")).collect()
}

#[test]
fn a_document_is_split_into_blocks() {
    let text = "# T\n`a b` and `c\nd`\n\n```sh\nx `y\n```\n| A | B |\n|---|---|\n| `p\\|q` | r |\n| | `s` |\n\nend `e`\n";
    let expected = Block { info: "sh".to_owned(), lines: vec!["x `y".to_owned()], at: 6 };
    assert_eq!(blocks(text), [expected]);
    assert_eq!(spans(text), ["a b", "c d", "p|q", "s", "e"]);
    assert_eq!(table(text, "| A | B |"), [["`p\\|q`", "r"], ["", "`s`"]]);
    assert!(std::panic::catch_unwind(|| blocks("```sh\nx\n")).is_err());
    assert!(std::panic::catch_unwind(|| spans("a ` b\n")).is_err());
}
