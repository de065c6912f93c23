use crate::manifest::Leftover;
use crate::report::Printer;

/// Says, before anybody is asked, what of a cluster stays because others use it, and what others lose.
pub fn tell_others(printer: &Printer, cluster: &str, leftovers: &[Leftover], lost: &[String]) {
    for leftover in leftovers {
        printer.note(&format!("{cluster}: {} stays: {}", leftover.what, leftover.reason));
    }
    for object in lost {
        printer
            .warn(&format!("{cluster}: {object}, which somebody else made, is deleted with its namespace"));
    }
}

/// Asks whether to delete so many objects of a mesh from so many clusters, with so many that others made.
#[must_use]
pub fn deletion_question(objects: usize, mesh: &str, clusters: usize, lost: usize) -> String {
    let others = match lost {
        0 => String::new(),
        1 => ", and one object of somebody else".to_owned(),
        _ => format!(", and {lost} objects of somebody else"),
    };
    format!("Delete {objects} objects of mesh {mesh} from {clusters} clusters{others}?")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Format;

    #[test]
    fn what_others_lose_is_in_the_question() {
        insta::assert_snapshot!(deletion_question(80, "devup", 3, 0), @"Delete 80 objects of mesh devup from 3 clusters?");
        insta::assert_snapshot!(deletion_question(80, "devup", 3, 1), @"Delete 80 objects of mesh devup from 3 clusters, and one object of somebody else?");
        insta::assert_snapshot!(deletion_question(80, "devup", 3, 2), @"Delete 80 objects of mesh devup from 3 clusters, and 2 objects of somebody else?");
    }

    #[test]
    fn what_stays_and_what_others_lose_is_named() {
        let (printer, captured) = Printer::captured(Format::Table);
        let stays = Leftover {
            what: "Namespace/sample".to_owned(),
            reason: "objects of somebody else: Secret/theirs".to_owned(),
        };
        tell_others(&printer, "foo", &[stays], &["Pod/theirs in namespace sleep".to_owned()]);
        insta::assert_snapshot!(captured.stderr(), @r"
        foo: Namespace/sample stays: objects of somebody else: Secret/theirs
        warning: foo: Pod/theirs in namespace sleep, which somebody else made, is deleted with its namespace
        ");
    }
}
