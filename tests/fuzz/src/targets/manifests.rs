//! Manifests, as `istioctl manifest generate` writes them.

use spire_mesh::manifest::{parse_yaml, to_yaml};

/// The longest text that is written again too, in bytes: it is read twice then.
const LONGEST_WRITTEN: usize = 64 << 10;

pub(crate) fn check(bytes: &[u8]) {
    let Ok(objects) = parse_yaml(&String::from_utf8_lossy(bytes)) else { return };
    if bytes.len() > LONGEST_WRITTEN {
        return;
    }
    let text = to_yaml(&objects);
    let again = parse_yaml(&text).expect("what was written can be read");
    assert_eq!(again, objects);
    assert_eq!(to_yaml(&again), text);
}
