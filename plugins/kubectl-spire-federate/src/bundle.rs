//! `bundle`: what the servers hold, of themselves and of each other.

use serde::Serialize;
use spire_mesh::command::{Asked, Shown, each_cluster, named, place, refuse_unchecked, taking};
use spire_mesh::entry::{Failure, Outcome};
use spire_mesh::federation::{self, AuthorityInfo, BundleDifference, HeldBundles, Repair, Side};
use spire_mesh::fleet::{Member, each};
use spire_mesh::hint::Advice;
use spire_mesh::manifest::Deadline;
use spire_mesh::report::{Cell, Report, Table};

use crate::cli::{BundleArgs, BundleName, BundleVerb, DiffArgs, Encoding, ExchangeArgs, PairName, ShowArgs};
use crate::up::failure;

pub(crate) async fn run(asked: &Asked, args: BundleArgs) -> Result<Outcome, Failure> {
    match args.verb {
        BundleVerb::Show(args) => show(asked, &args).await,
        BundleVerb::Diff(args) => diff(asked, &args).await,
        BundleVerb::Exchange(args) => exchange(asked, &args).await,
    }
}

/// What a cluster's server holds.
struct Holder<'m> {
    member: &'m Member,
    bundles: HeldBundles,
}

async fn holders(members: &[Member]) -> Result<Vec<Holder<'_>>, Failure> {
    let held = each(members, |member| async move {
        Ok::<_, federation::FederationError>(Holder {
            member,
            bundles: federation::held_bundles(member).await?,
        })
    });
    held.await.into_all().map_err(|errors| each_cluster(members, errors))
}

async fn show(asked: &Asked, args: &ShowArgs) -> Result<Outcome, Failure> {
    let (_, members) = asked.reach_all().await?;
    let (holder, of) = match &args.bundle {
        None => {
            let bundles = holders(&members).await?.iter().flat_map(all_of).collect();
            asked.printer.report(&ShowReport { bundles })?;
            return Ok(Outcome::Done);
        }
        Some(BundleName::Own(name)) => (named(&members, name)?, named(&members, name)?),
        Some(BundleName::Stored(pair)) => (named(&members, &pair.holder)?, named(&members, &pair.of)?),
    };
    let domain = &of.cluster.trust_domain;
    let failed = |error| failure(error).at(&holder.place());
    let none = || {
        let error = anyhow::anyhow!("the server in {} holds no bundle of {domain}", holder.name());
        Failure::from(error).with_hint(asked.plugin.command(["verify"]))
    };
    match args.encoding {
        Some(Encoding::Spiffe) => {
            let document = federation::bundle_document(holder, domain).await.map_err(failed)?;
            asked.printer.data(&format!("{}\n", document.ok_or_else(none)?.to_json()))?;
        }
        encoding => {
            let bundles = federation::held_bundles(holder).await.map_err(failed)?;
            let bundle = bundles.of(domain).ok_or_else(none)?;
            if encoding == Some(Encoding::Pem) {
                asked.printer.data(&bundle.to_pem())?;
            } else {
                let shown = ShownBundle {
                    holder: holder.name().to_owned(),
                    trust_domain: domain.to_string(),
                    authorities: AuthorityInfo::of(bundle),
                };
                asked.printer.report(&ShowReport { bundles: vec![shown] })?;
            }
        }
    }
    Ok(Outcome::Done)
}

/// Lists a server's own bundle and those that it stores.
fn all_of(holder: &Holder<'_>) -> Vec<ShownBundle> {
    let bundles = std::iter::once(&holder.bundles.own).chain(&holder.bundles.stored);
    bundles
        .map(|bundle| ShownBundle {
            holder: holder.member.name().to_owned(),
            trust_domain: bundle.trust_domain().to_string(),
            authorities: AuthorityInfo::of(bundle),
        })
        .collect()
}

/// Compares pairs: the one that was named, or all.
fn differences(
    members: &[Member],
    holders: &[Holder<'_>],
    pair: Option<&PairName>,
) -> Result<Vec<BundleDifference>, Failure> {
    if let Some(PairName { holder, of }) = pair {
        named(members, holder)?;
        named(members, of)?;
    }
    let is_meant = |from: &Holder<'_>, to: &Holder<'_>| match pair {
        Some(PairName { holder, of }) => from.member.name() == holder && to.member.name() == of,
        None => from.member.name() != to.member.name(),
    };
    let pairs = holders.iter().flat_map(|from| holders.iter().map(move |to| (from, to)));
    let compared = pairs.filter(|(from, to)| is_meant(from, to)).flat_map(|(from, to)| {
        let stored = from.bundles.of(&to.member.cluster.trust_domain);
        federation::bundle_difference((from.member.name(), stored), (to.member.name(), &to.bundles.own))
    });
    Ok(compared.collect())
}

async fn diff(asked: &Asked, args: &DiffArgs) -> Result<Outcome, Failure> {
    let (_, members) = asked.reach_all().await?;
    let authorities = differences(&members, &holders(&members).await?, args.pair.as_ref())?;
    let differ = authorities.iter().filter(|authority| authority.side != Side::Both).count();
    asked.printer.report(&DiffReport { authorities })?;
    if differ == 0 {
        asked.printer.note("both sides hold the same authorities");
        return Ok(Outcome::Done);
    }
    asked.printer.note(&format!("{differ} authorities are on one side only"));
    let hint = "a server brings its copy up to date at its next fetch; where none can succeed any more: ";
    asked.printer.hint(Advice::from(hint).then(asked.plugin.command(["bundle", "exchange"])));
    Ok(Outcome::Findings)
}

async fn exchange(asked: &Asked, args: &ExchangeArgs) -> Result<Outcome, Failure> {
    let deadline = Deadline::after(args.wait.timeout);
    let (mesh, members) = asked.reach_all().await?;
    refuse_unchecked(&members)?;
    let work = carry(asked, args, &members, deadline);
    asked.exclusively("bundle exchange", taking(args.confirm), &mesh, &members, work).await
}

async fn carry(
    asked: &Asked,
    args: &ExchangeArgs,
    members: &[Member],
    deadline: Deadline<'_>,
) -> Result<Outcome, Failure> {
    let found = differences(members, &holders(members).await?, args.pair.as_ref())?;
    let differing = found.iter().filter(|authority| authority.side != Side::Both);
    let carries = differing
        .map(|authority| Repair::CarryBundle { from: authority.from.clone(), to: authority.to.clone() });
    let repairs = federation::merged(&carries.collect::<Vec<_>>());
    if repairs.is_empty() {
        asked.printer.note("nothing to carry: both sides hold the same authorities");
        return Ok(Outcome::Done);
    }
    for repair in &repairs {
        asked.printer.note(&format!("to be done: {repair}"));
    }
    if args.confirm.dry_run {
        return Ok(Outcome::Done);
    }
    if !asked.printer.confirm("Carry these?", args.confirm.yes).await? {
        asked.printer.note("nothing was changed");
        return Ok(Outcome::Done);
    }
    let failed = {
        let shown = Shown::of(&asked.printer, members);
        federation::repair(members, &repairs, deadline, &shown).await
    };
    if !failed.is_empty() {
        let failed =
            failed.into_iter().map(|(cluster, error)| (place(members, &cluster), failure(error))).collect();
        return Err(Failure::clusters(members.len(), failed));
    }
    let authorities = differences(members, &holders(members).await?, args.pair.as_ref())?;
    let same = authorities.iter().all(|authority| authority.side == Side::Both);
    asked.printer.report(&DiffReport { authorities })?;
    Ok(if same { Outcome::Done } else { Outcome::Findings })
}

/// Bundles as they are printed. The shape of its JSON is a promise.
#[derive(Serialize)]
struct ShowReport {
    bundles: Vec<ShownBundle>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownBundle {
    holder: String,
    trust_domain: String,
    authorities: Vec<AuthorityInfo>,
}

impl Report for ShowReport {
    fn table(&self, wide: bool) -> Table {
        let mut table =
            Table::new(["HOLDER", "TRUST DOMAIN", "SHA-256", "ID", "FROM", "UNTIL"]).when_empty("no bundle");
        for bundle in &self.bundles {
            for authority in &bundle.authorities {
                let [digest, id, from, until] = cells(authority, wide);
                let (holder, domain) = (Cell::from(&bundle.holder), Cell::from(&bundle.trust_domain));
                table.row([holder, domain, digest, id, from, until]);
            }
        }
        table
    }
}

/// Authorities of both sides as they are printed. The shape of its JSON is a promise.
#[derive(Serialize)]
struct DiffReport {
    authorities: Vec<BundleDifference>,
}

impl Report for DiffReport {
    fn table(&self, wide: bool) -> Table {
        let headers = ["HOLDER", "CLUSTER", "HELD BY", "SHA-256", "ID", "FROM", "UNTIL"];
        let mut table = Table::new(headers).when_empty("no bundle");
        for row in &self.authorities {
            let side = row.side.as_str();
            let side = if row.side == Side::Both { Cell::good(side) } else { Cell::bad(side) };
            let [digest, id, from, until] = cells(&row.authority, wide);
            table.row([Cell::from(&row.from), Cell::from(&row.to), side, digest, id, from, until]);
        }
        table
    }
}

/// Digest, ID and validity; the whole digest and ID where there is room.
fn cells(authority: &AuthorityInfo, wide: bool) -> [Cell; 4] {
    let id = authority.id.as_deref().unwrap_or_default();
    let (digest, id) = if wide {
        (authority.sha256.to_string(), id)
    } else {
        (authority.sha256.short(), id.get(..8).unwrap_or(id))
    };
    [digest.into(), id.into(), authority.not_before.as_ref().into(), authority.not_after.as_ref().into()]
}

#[cfg(test)]
mod tests {
    use spire_mesh::report::{Format, Printer};
    use spire_mesh::trust::AuthorityDigest;

    use super::*;

    fn authority(seed: &str) -> AuthorityInfo {
        AuthorityInfo {
            sha256: AuthorityDigest::of(seed.as_bytes()),
            id: Some("10aa7b1280f3d925cb4ca7ad7668cc01ad5d8d23".to_owned()),
            not_before: Some("2026-11-25T10:00:00Z".to_owned()),
            not_after: Some("2026-12-02T10:00:00Z".to_owned()),
        }
    }

    fn printed(format: Format, report: &impl Report) -> String {
        let (printer, captured) = Printer::captured(format);
        printer.report(report).unwrap();
        captured.stdout()
    }

    #[test]
    fn bundles_are_printed_by_authority() {
        let report = ShowReport {
            bundles: vec![ShownBundle {
                holder: "foo-eks-cluster".to_owned(),
                trust_domain: "bar.com".to_owned(),
                authorities: vec![authority("a"), AuthorityInfo { id: None, ..authority("b") }],
            }],
        };
        insta::assert_snapshot!(printed(Format::Table, &report));
        insta::assert_snapshot!(printed(Format::Wide, &report));
        insta::assert_snapshot!(printed(Format::Json, &report));
    }

    #[test]
    fn a_difference_says_who_holds_what() {
        let authorities = [Side::Both, Side::LiveOnly, Side::StoredOnly].map(|side| BundleDifference {
            from: "foo-eks-cluster".to_owned(),
            to: "bar-eks-cluster".to_owned(),
            authority: authority(side.as_str()),
            side,
        });
        let report = DiffReport { authorities: authorities.into() };
        insta::assert_snapshot!(printed(Format::Table, &report));
        insta::assert_snapshot!(printed(Format::Json, &report));
    }
}
