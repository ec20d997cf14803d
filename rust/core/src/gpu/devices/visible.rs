//! `CUDA_VISIBLE_DEVICES`, read as CUDA reads it.
//!
//! The variable is a list of numbers, of `GPU-…` or of `MIG-…` names; the first entry decides
//! which. The list ends, without an error, at the first entry that means nothing, and a GPU named
//! twice makes the whole list empty. Names may be cut short as long as they stay unique.

/// Names the GPUs that CUDA may show to this process.
pub const VISIBLE_VARIABLE: &str = "CUDA_VISIBLE_DEVICES";

/// What the variable says, before it is compared with the GPUs there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mask {
    /// It is not set: every GPU.
    All,
    /// Places in CUDA's own order.
    Indices(Vec<usize>),
    /// Names of GPUs.
    Gpus(Vec<String>),
    /// Names of MIG instances.
    Instances(Vec<String>),
}

impl Mask {
    /// Reads the variable's text; `None` where it is not set.
    pub fn parse(text: Option<&str>) -> Self {
        let Some(text) = text else { return Self::All };
        if text.starts_with("GPU-") {
            Self::Gpus(names(text, "GPU-"))
        } else if text.starts_with("MIG-") {
            Self::Instances(names(text, "MIG-"))
        } else {
            Self::Indices(indices(text))
        }
    }

    /// Whether it shows none of the GPUs that there may be.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::All => false,
            Self::Indices(places) => places.is_empty(),
            Self::Gpus(names) | Self::Instances(names) => names.is_empty(),
        }
    }
}

fn names(text: &str, prefix: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for entry in text.split(',') {
        if names.iter().any(|name| name == entry) {
            return Vec::new();
        }
        if !entry.starts_with(prefix) {
            break;
        }
        names.push(entry.to_owned());
    }
    names
}

fn indices(text: &str) -> Vec<usize> {
    let mut places = Vec::new();
    for entry in text.split(',') {
        let Some(place) = leading_number(entry.trim()) else { break };
        if places.contains(&place) {
            return Vec::new();
        }
        places.push(place);
    }
    places
}

/// The number that a text begins with, as C's `strtoul` finds it; nothing where it is negative.
fn leading_number(text: &str) -> Option<usize> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    let end = digits.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(digits.len());
    if end == 0 {
        return None;
    }
    // A number beyond all bounds is an index that no machine has.
    Some(digits[..end].parse().unwrap_or(usize::MAX))
}

/// The index of the one of `known` that `name` means: itself, or the only one that begins with it.
pub fn index_of<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<usize> {
    let mut found = None;
    for (index, candidate) in known.enumerate() {
        if candidate == name {
            return Some(index);
        }
        if candidate.starts_with(name) {
            if found.is_some() {
                return None;
            }
            found = Some(index);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_read_as_cuda_reads_them() {
        for (text, expected) in [
            ("", vec![]),
            ("-1", vec![]),
            ("NoDevFiles", vec![]),
            ("junk", vec![]),
            ("1,0", vec![1, 0]),
            (" 1 , 0 ", vec![1, 0]),
            ("+1", vec![1]),
            ("1gpu2,2ampere", vec![1, 2]),
            ("0x1", vec![0]),
            ("0,-1,1", vec![0]),
            ("0,9,1", vec![0, 9, 1]),
            ("0,0", vec![]),
            ("2,,3", vec![2]),
            ("1,GPU-a", vec![1]),
            ("99999999999999999999999", vec![usize::MAX]),
        ] {
            assert_eq!(Mask::parse(Some(text)), Mask::Indices(expected), "{text:?}");
        }
        assert_eq!(Mask::parse(None), Mask::All);
    }

    #[test]
    fn names_end_at_the_first_of_another_kind() {
        let gpus = |names: &[&str]| Mask::Gpus(names.iter().map(|&name| name.into()).collect());
        assert_eq!(Mask::parse(Some("GPU-a,GPU-b")), gpus(&["GPU-a", "GPU-b"]));
        assert_eq!(Mask::parse(Some("GPU-a,1")), gpus(&["GPU-a"]));
        assert_eq!(Mask::parse(Some("GPU-a,GPU-a")), gpus(&[]));
        let instance = Mask::Instances(vec!["MIG-GPU-a/1/0".into()]);
        assert_eq!(Mask::parse(Some("MIG-GPU-a/1/0,GPU-a")), instance);
    }

    #[test]
    fn a_short_name_must_be_unique() {
        let known = ["GPU-2222aa", "GPU-2222ab", "GPU-3333"];
        assert_eq!(index_of("GPU-3", known.into_iter()), Some(2));
        assert_eq!(index_of("GPU-2222", known.into_iter()), None);
        assert_eq!(index_of("GPU-2222ab", known.into_iter()), Some(1));
        assert_eq!(index_of("GPU-9", known.into_iter()), None);
    }

    proptest! {
        /// Any text in the variable is read without a panic and shows no GPU twice.
        #[test]
        fn any_text_is_read(text in "[-+0-9a-zG,PUMI \\PC]{0,40}") {
            if let Mask::Indices(places) = Mask::parse(Some(&text)) {
                let distinct: std::collections::BTreeSet<_> = places.iter().collect();
                prop_assert_eq!(distinct.len(), places.len());
            }
        }

        /// A list of distinct numbers is read as it is, with any blanks around them.
        #[test]
        fn distinct_numbers_keep_their_order(
            places in proptest::collection::hash_set(0usize..64, 1..8),
            blanks in " {0,2}",
        ) {
            let places: Vec<usize> = places.into_iter().collect();
            let texts: Vec<String> =
                places.iter().map(|place| format!("{blanks}{place}{blanks}")).collect();
            prop_assert_eq!(Mask::parse(Some(&texts.join(","))), Mask::Indices(places));
        }

        /// What follows an entry that means nothing changes nothing.
        #[test]
        fn the_list_ends_at_the_first_invalid_entry(
            places in proptest::collection::hash_set(0usize..64, 0..6),
            rest in "[a-z0-9,-]{0,20}",
        ) {
            let texts: Vec<String> = places.iter().map(ToString::to_string).collect();
            let text = if texts.is_empty() { "x".to_owned() } else { format!("{},x", texts.join(",")) };
            let places: Vec<usize> = texts.iter().map(|text| text.parse().unwrap()).collect();
            let read = Mask::parse(Some(&format!("{text},{rest}")));
            prop_assert_eq!(read, Mask::Indices(places));
        }
    }
}
