//! `--save`: chains and bundles in files.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use spire_mesh::entry::Failure;
use spire_mesh::report::{make_folder, write_file};
use spire_mesh::trustchain::{Inspected, Listed};

/// Writes a folder for each workload that presents a chain: `chain.pem`, the leaf first, and `bundle-DOMAIN.pem`. Returns how many.
pub(crate) fn write(folder: &Path, inspected: &[Inspected]) -> Result<usize, Failure> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make folder {}", folder.display()))?;
    let with_chain = inspected.iter().filter(|one| !one.chain.is_empty());
    let mut written = 0;
    for one in with_chain {
        let own = folder.join(file_name(&one.subject.to_string()));
        make_folder(&own).with_context(|| format!("cannot make folder {}", own.display()))?;
        file(&own.join("chain.pem"), &pem(&one.chain))?;
        for bundle in &one.trust_bundles {
            let domain = bundle.trust_domain.as_deref().unwrap_or("everybody");
            file(&own.join(format!("bundle-{}.pem", file_name(domain))), &pem(&bundle.authorities))?;
        }
        written += 1;
    }
    Ok(written)
}

/// Writes certificates as PEM, one after the other.
pub(crate) fn pem<'c>(certificates: impl IntoIterator<Item = &'c Listed>) -> String {
    certificates.into_iter().map(|Listed(certificate)| certificate.to_pem()).collect()
}

fn file(path: &Path, text: &str) -> Result<(), Failure> {
    Ok(write_file(path, text).with_context(|| format!("cannot write {}", path.display()))?)
}

/// Makes one part of a path of a name, whatever is in it: a context's name may hold anything.
fn file_name(name: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let name: String = name.chars().map(safe).collect();
    if name.starts_with('.') { format!("_{name}") } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_part_of_a_path() {
        assert_eq!(file_name("foo-eks-cluster/bookinfo/a-0"), "foo-eks-cluster_bookinfo_a-0");
        assert_eq!(file_name("../../etc"), "_.._.._etc");
        assert_eq!(file_name("arn:aws:eks"), "arn_aws_eks");
    }
}
