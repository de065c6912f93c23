/// Returns what was probably meant, where something that there is differs from it by no more than a slip of the fingers: one letter in four,
/// and two at most. Names that share a long ending are not near: `foo-eks-cluster` is not `qux-eks-cluster`.
#[must_use]
pub fn nearest<'k>(wanted: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    const MOST: usize = 2;
    let distance = |name: &str| strsim::damerau_levenshtein(wanted, name);
    let slips = |name: &str| distance(name) <= MOST.min(wanted.chars().count() / 4);
    known.into_iter().filter(|name| slips(name)).min_by_key(|name| distance(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_really_near_is_suggested_and_the_nearest_of_it() {
        let near = |wanted, known: &[&'static str]| nearest(wanted, known.iter().copied());
        assert_eq!(near("foo-eks-cluster", &["qux-eks-cluster", "bar-eks-cluster"]), None);
        assert_eq!(
            near("foo-eks-clutser", &["foo-eks-clusters", "foo-eks-cluster"]),
            Some("foo-eks-cluster")
        );
        assert_eq!(near("foo-eks-clust", &["foo-eks-cluster"]), Some("foo-eks-cluster"));
        assert_eq!(near("foo-eks-clus", &["foo-eks-cluster"]), None);
        // Of short names, one letter is a lot.
        assert_eq!(near("foo", &["fo", "fooo", "bar"]), None);
        assert_eq!(near("fooo", &["foo", "bar"]), Some("foo"));
        assert_eq!(near("", &["a"]), None);
    }
}
