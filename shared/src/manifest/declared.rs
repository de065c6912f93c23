//! Fields that somebody else declares: Argo CD, Flux, or whoever applies files of their own.

use std::fmt;

use kube::core::Status;
use serde::Serialize;

use crate::report::{cut, one_line};

/// Field managers that set fields by updates and not by server-side apply, and have files to which they come back.
const DECLARES_BY_UPDATES: [&str; 2] = ["argocd-controller", "kubectl-client-side-apply"];
/// How many fields are named where there are more.
const NAMED: usize = 3;
/// The longest name of a manager or a field that is repeated, in characters.
const LONGEST: usize = 200;

/// Who declares fields of an object with other values than those that are wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Declared {
    /// The field manager: `argocd-controller`, `kustomize-controller`, `kubectl`.
    pub manager: String,
    /// The fields, as the API server names them: `spec.replicas`.
    pub fields: Vec<String>,
}

impl fmt::Display for Declared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { manager, fields } = self;
        let named = &fields[..fields.len().min(NAMED)];
        write!(f, "{manager} declares {}", named.join(", "))?;
        match fields.len() - named.len() {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// Says in one line who declares what.
pub(super) fn declared_text(by: &[Declared]) -> String {
    by.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Why the API server does not apply an object without force.
pub(super) struct Conflict {
    /// Those who come back to what they declare. All others have changed something once: by hand, or as a controller does.
    pub(super) declared: Vec<Declared>,
}

impl Conflict {
    /// Reads the refusal of a server-side apply; `None` where it was refused for another reason.
    pub(super) fn of(error: &kube::Error) -> Option<Self> {
        let kube::Error::Api(status) = error else { return None };
        let mut fields = conflicts(status).peekable();
        fields.peek()?;
        let mut declared: Vec<Declared> = Vec::new();
        for (who, field) in fields {
            let Some(manager) = who.declares() else { continue };
            let manager = cut(one_line(manager), LONGEST);
            let field = cut(one_line(field.trim_start_matches('.')), LONGEST);
            match declared.iter_mut().find(|known| known.manager == manager) {
                Some(known) => known.fields.push(field),
                None => declared.push(Declared { manager, fields: vec![field] }),
            }
        }
        Some(Self { declared })
    }
}

/// A field manager, and how it has set a field.
struct Manager<'s> {
    name: &'s str,
    /// It used server-side apply.
    applies: bool,
}

impl<'s> Manager<'s> {
    /// Reads what the API server says of a conflict: `conflict with "NAME"` for one that applies, `conflict with "NAME" using v1 at TIME` for
    /// one that updates (`printManager` in apimachinery, `pkg/util/managedfields/internal/conflict.go`).
    fn of(message: &'s str) -> Option<Self> {
        let (name, rest) = message.strip_prefix("conflict with \"")?.split_once('"')?;
        Some(Self { name, applies: !rest.contains(" using ") })
    }

    /// Returns its name where it has files of its own to which it sets fields back.
    fn declares(self) -> Option<&'s str> {
        (self.applies || DECLARES_BY_UPDATES.contains(&self.name)).then_some(self.name)
    }
}

fn conflicts(status: &Status) -> impl Iterator<Item = (Manager<'_>, &str)> {
    let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
    let of_fields = causes.iter().filter(|cause| cause.reason == "FieldManagerConflict");
    of_fields.filter_map(|cause| Some((Manager::of(&cause.message)?, cause.field.as_str())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn conflict(causes: &[(&str, &str)]) -> Option<Conflict> {
        let causes: Vec<_> = causes
            .iter()
            .map(|(message, field)| json!({"reason": "FieldManagerConflict", "message": message, "field": field}))
            .collect();
        let status = json!({"status": "Failure", "message": "", "reason": "Conflict", "code": 409, "details": {"causes": causes}});
        Conflict::of(&kube::Error::Api(Box::new(serde_json::from_value(status).unwrap())))
    }

    #[test]
    fn who_has_files_of_their_own_is_told_from_who_changed_something_once() {
        let conflict = conflict(&[
            ("conflict with \"kubectl-edit\" using apps/v1 at 2026-11-25T10:00:00Z", ".spec.paused"),
            ("conflict with \"kustomize-controller\"", ".spec.replicas"),
            (
                "conflict with \"argocd-controller\" using apps/v1 at 2026-11-25T10:00:00Z",
                ".metadata.labels.a",
            ),
            (
                "conflict with \"kustomize-controller\"",
                ".spec.template.spec.containers[name=\"discovery\"].image",
            ),
            ("conflict with \"kubectl-client-side-apply\" using apps/v1", ".spec.selector"),
            ("conflict with \"kubectl-client-side-apply\" using apps/v1", ".data.\u{1b}[2Jx"),
            ("conflict with \"mesh-install\" using apps/v1", ".spec.strategy"),
            ("conflict with \"kube-controller-manager\" with subresource \"scale\" using apps/v1", ".spec.x"),
        ]);
        insta::assert_snapshot!(declared_text(&conflict.unwrap().declared), @r#"kustomize-controller declares spec.replicas, spec.template.spec.containers[name="discovery"].image; argocd-controller declares metadata.labels.a; kubectl-client-side-apply declares spec.selector, data.\u{1b}[2Jx"#);
    }

    #[test]
    fn a_refusal_for_another_reason_is_no_conflict_of_fields() {
        assert!(conflict(&[]).is_none());
        assert!(conflict(&[("conflict of another kind", ".spec")]).is_none());
        let by_hand = conflict(&[("conflict with \"kubectl-patch\" using v1", ".data.a")]).unwrap();
        assert_eq!(by_hand.declared, []);
    }

    #[test]
    fn of_many_fields_a_few_are_named() {
        let fields = |count: usize| (0..count).map(|index| format!("data.f{index}")).collect();
        let of = |count| Declared { manager: "kubectl".to_owned(), fields: fields(count) }.to_string();
        assert_eq!(of(3), "kubectl declares data.f0, data.f1, data.f2");
        assert_eq!(of(5), "kubectl declares data.f0, data.f1, data.f2 and 2 more");
    }
}
