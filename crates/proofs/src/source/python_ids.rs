//! The ids that pytest gives the cases of a test: `test_x[1-a]`, as far as its values are written out.

use super::Cases;
use super::trees::{Tree, written};

/// The cases of a function with these decorators, from the first line to the last.
pub(super) fn case_ids(decorators: &[&[Tree]]) -> Cases {
    let mut cases = vec![String::new()];
    let mut has_cases = false;
    // The decorator next to the function comes first in the id.
    for decorator in decorators.iter().rev() {
        let [before @ .., last, Tree::Group('(', arguments)] = *decorator else { continue };
        let is_expand = matches!(last.word(), Some("expand" | "parameterized"))
            || before.iter().any(|t| t.is_word("parameterized"));
        if is_expand {
            return Cases::Unknown;
        }
        if !last.is_word("parametrize") {
            continue;
        }
        let Some(ids) = ids(arguments) else { return Cases::Unknown };
        has_cases = true;
        let joined = |case: &String, id: &String| if case.is_empty() { id.clone() } else { format!("{case}-{id}") };
        cases = cases.iter().flat_map(|case| ids.iter().map(move |id| joined(case, id))).collect();
    }
    if has_cases { Cases::Named(cases) } else { Cases::One }
}

/// The ids of one `parametrize(names, values, ids=…)`.
fn ids(arguments: &[Tree]) -> Option<Vec<String>> {
    let arguments: Vec<&[Tree]> = parts(arguments);
    let (plain, keyed): (Vec<_>, Vec<_>) =
        arguments.into_iter().partition(|part| !part.get(1).is_some_and(|tree| tree.is_sign('=')));
    let [names, [Tree::Group('[' | '(', values)]] = plain.as_slice() else { return None };
    let count = match names {
        [names] => match names.text() {
            Some(text) => text.split(',').filter(|name| !name.trim().is_empty()).count(),
            None => parts(names.group('(').or(names.group('['))?).len(),
        },
        _ => return None,
    };
    let named = keyed.iter().find(|part| part[0].is_word("ids"));
    let ids: Vec<String> = match named {
        Some([_, _, Tree::Group('[' | '(', ids)]) => {
            parts(ids).into_iter().map(|id| Some(id.first()?.text()?.to_owned())).collect::<Option<_>>()?
        }
        Some(_) => return None,
        None => parts(values).into_iter().map(|value| id(value, count)).collect::<Option<_>>()?,
    };
    let mut sorted = ids.clone();
    sorted.sort_unstable();
    sorted.dedup();
    // pytest numbers ids that are the same.
    (sorted.len() == ids.len()).then_some(ids)
}

fn parts(trees: &[Tree]) -> Vec<&[Tree]> {
    trees.split(|tree| tree.is_sign(',')).filter(|part| !part.is_empty()).collect()
}

fn id(value: &[Tree], count: usize) -> Option<String> {
    match value {
        [.., param, Tree::Group('(', arguments)] if param.is_word("param") => {
            let arguments = parts(arguments);
            let id_of = |part: &&[Tree]| match part {
                [name, _, id] if name.is_word("id") => id.text().map(str::to_owned),
                _ => None,
            };
            arguments.iter().find_map(id_of).or_else(|| {
                let values = arguments.iter().filter(|part| !part.get(1).is_some_and(|tree| tree.is_sign('=')));
                values.map(|value| literal(value)).collect::<Option<Vec<_>>>().map(|ids| ids.join("-"))
            })
        }
        [Tree::Group('(' | '[', values)] if count > 1 => {
            parts(values).into_iter().map(literal).collect::<Option<Vec<_>>>().map(|ids| ids.join("-"))
        }
        value if count == 1 => literal(value),
        _ => None,
    }
}

/// A literal as pytest writes it in an id.
fn literal(value: &[Tree]) -> Option<String> {
    if let [text] = value
        && let Some(text) = text.text()
    {
        return text.chars().all(|c| c.is_ascii_graphic() || c == ' ').then(|| text.to_owned());
    }
    let text = written(value);
    let digits = text.strip_prefix('-').unwrap_or(&text);
    let is_whole = |digits: &str| {
        digits == "0"
            || (!digits.starts_with('0') && !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let is_number = match digits.split_once('.') {
        None => is_whole(digits) && text != "-0",
        Some((whole, part)) => {
            let digits = !part.is_empty() && part.len() < 7 && part.bytes().all(|byte| byte.is_ascii_digit());
            is_whole(whole) && whole.len() < 7 && digits && (part == "0" || !part.ends_with('0'))
        }
    };
    (is_number || ["True", "False", "None"].contains(&text.as_str())).then_some(text)
}
