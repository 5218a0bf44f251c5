//! Taking a ledger in. The file is untrusted input: a process may have died while it wrote, a disk may have lost half
//! of it, somebody may have edited it.

use super::counts::signed;
use super::counts::{is_multi, peak, Counts};
use super::layout::{self, outcome, site_flag, state, Header, Lane, PeakRecord, StackRecord};
use super::leaks::{LeakCheck, LeakSums, Leaks};
use super::model::{Counters, End, Ledger, LedgerError, Losses, Site, SiteValues};
use super::parts::{Parts, SiteParts};
use super::view::View;
use super::{Benchmark, Hook, Identity, OutcomeCode, Seed};
use std::collections::HashMap;
use std::ffi::OsString;
use std::mem::offset_of;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// Reads a whole ledger.
///
/// # Errors
/// Where `bytes` is not a ledger at all; a damaged rest is skipped and counted in [`Losses`].
pub fn read(bytes: &[u8]) -> Result<Ledger, LedgerError> {
    let file = View(bytes);
    if bytes.len() < layout::HEADER_LEN || !bytes.starts_with(&layout::MAGIC) {
        return Err(LedgerError::NotALedger);
    }
    let version = file.u32(offset_of!(Header, version));
    if version != layout::VERSION {
        return Err(LedgerError::Version(version));
    }
    if file.u32(offset_of!(Header, header_len)) as usize != layout::HEADER_LEN {
        return Err(LedgerError::Damaged("its header is not as long as this version's"));
    }
    let mut parts = Parts::default();
    parts.collect(file);
    let mut losses = losses(file);
    losses.unreadable_bytes = parts.unreadable_bytes;
    let mut counters = counters(file, &parts.lanes);
    let sites = sites(file, &parts, &mut losses);
    if file.u64(offset_of!(Header, rate)) == 1 {
        losses.complete(&counters, &sites);
    }
    counters.leaks = leaks(file, &counters, &sites);
    let stacks = parts.take_stacks();
    let end = end(file, parts.text.remove("message"));
    Ok(Ledger {
        identity: Identity { seed: Seed(file.u64(offset_of!(Header, seed))), ..identity(&mut parts.text) },
        end,
        rate: file.u64(offset_of!(Header, rate)),
        pid: file.u32(offset_of!(Header, pid)),
        fork_of: parts.text.remove("fork_of").and_then(|pid| String::from_utf8_lossy(&pid).parse().ok()),
        started_ns: file.u64(offset_of!(Header, started_ns)),
        wall_ns: file.u64(offset_of!(Header, wall_ns)),
        counters,
        losses,
        modules: parts.modules,
        stacks,
        sites,
    })
}

fn losses(file: View<'_>) -> Losses {
    Losses {
        unattributed_objects: file.u64(offset_of!(Header, unattributed_objects)),
        unattributed_space: file.u64(offset_of!(Header, unattributed_space)),
        unattributed_frees: file.u64(offset_of!(Header, unattributed_frees)),
        unattributed_freed_space: file.u64(offset_of!(Header, unattributed_freed_space)),
        truncated_stacks: file.u64(offset_of!(Header, truncated_stacks)),
        unwalkable_stacks: file.u64(offset_of!(Header, unwalkable_stacks)),
        untracked_samples: file.u64(offset_of!(Header, untracked_samples)),
        untracked_foreign: file.u64(offset_of!(Header, untracked_foreign)),
        outside_frees: file.u64(offset_of!(Header, outside_frees)),
        outside_freed_space: file.u64(offset_of!(Header, outside_freed_space)),
        lost_peaks: file.u64(offset_of!(Header, lost_peaks)),
        unreadable_sites: 0,
        unreadable_bytes: 0,
        own_memory: file.u64(offset_of!(Header, own_memory)).saturating_add(file.len() as u64),
        forks: file.u32(offset_of!(Header, forks)),
        lost_forks: file.u64(offset_of!(Header, lost_forks)),
    }
}

impl Losses {
    /// Of a ledger in which every stack was noted: what the counters have and no site has is without a stack. That is more than the engine
    /// itself has counted so where the process was cut off after an event was counted and before its site was, or where a site cannot be read.
    fn complete(&mut self, counters: &Counters, sites: &[Site]) {
        let sum = |value: fn(&SiteValues) -> u64| {
            sites.iter().fold(0_u64, |sum, site| sum.saturating_add(value(&site.values)))
        };
        self.unattributed_objects = counters.alloc_objects.saturating_sub(sum(|values| values.alloc_objects));
        self.unattributed_space = counters.alloc_space.saturating_sub(sum(|values| values.alloc_space));
        self.unattributed_frees = counters.frees.saturating_sub(sum(|values| values.frees));
        self.unattributed_freed_space = counters.freed_space.saturating_sub(sum(|values| values.freed_space));
    }
}

fn counters(file: View<'_>, lanes: &[View<'_>]) -> Counters {
    let sum = |at: usize| lanes.iter().fold(0u64, |sum, lane| sum.saturating_add(lane.u64(at)));
    let mut classes = [0u64; layout::SIZE_CLASSES];
    for (class, total) in classes.iter_mut().enumerate() {
        *total = sum(offset_of!(Lane, classes) + class * 8);
    }
    let Counts { alloc_objects, alloc_space, frees, peak_space, peak_error, inuse_objects, inuse_space, threads } =
        Counts::of(file, lanes);
    Counters {
        alloc_objects,
        alloc_space,
        reallocs: sum(offset_of!(Lane, reallocs)),
        frees,
        freed_space: u64::try_from(signed(alloc_space).saturating_sub(inuse_space)).unwrap_or(0),
        failed: sum(offset_of!(Lane, failed)),
        peak_space,
        peak_error,
        inuse_objects,
        inuse_space,
        classes,
        threads,
        leaks: Leaks::default(),
    }
}

/// What is leaked of all that is in use: by site, where every leaked block has its site; else of all together.
fn leaks(file: View<'_>, counters: &Counters, sites: &[Site]) -> Leaks {
    let code = file.u32(offset_of!(Header, leak_check));
    let signal = file.u32(offset_of!(Header, wait_status)) & 0x7f;
    // What a filter of system calls that nobody knew of forbids, ends the process.
    let is_filtered = code == layout::leak_check::ENDING && signal == libc::SIGSYS as u32;
    let check = if is_filtered { LeakCheck::Filtered } else { LeakCheck::of_code(code) };
    if check != LeakCheck::Done {
        return Leaks { check, ..Leaks::default() };
    }
    let sums = LeakSums {
        objects: file.u64(offset_of!(Header, leaked_objects)),
        room: file.u64(offset_of!(Header, leaked_room)),
        slack: file.u64(offset_of!(Header, leaked_slack)),
        live_room: file.u64(offset_of!(Header, live_room)),
        live_slack: file.u64(offset_of!(Header, live_slack)),
    };
    let (leaked_objects, leaked_space) = sums.of(counters.inuse_objects, counters.inuse_space);
    let of_sites = sites.iter().fold((0i64, 0i64), |(objects, space), site| {
        (objects.saturating_add(site.values.leaked_objects), space.saturating_add(site.values.leaked_space))
    });
    let leaked_space = if of_sites.0 == leaked_objects { of_sites.1 } else { leaked_space };
    Leaks { check, leaked_objects, leaked_space: leaked_space.clamp(0, counters.inuse_space.max(0)) }
}

/// Whether the process stood at its peak when the window closed: then every site's peak is what it has now.
fn is_at_peak(file: View<'_>, lanes: &[View<'_>]) -> bool {
    match lanes {
        [only] if !is_multi(file) => only.i64(offset_of!(Lane, live)) == peak(file, lanes),
        _ => file.u32(offset_of!(Header, at_peak)) != 0,
    }
}

fn sites(file: View<'_>, parts: &Parts<'_>, losses: &mut Losses) -> Vec<Site> {
    let epoch = file.u32(offset_of!(Header, epoch));
    let at_peak = is_at_peak(file, &parts.lanes);
    let mut sites = Vec::with_capacity(parts.site_count());
    let mut leaked: HashMap<_, LeakSums> = HashMap::new();
    for (offset, site) in parts.sites() {
        match counted(parts, site, epoch, at_peak) {
            Some(site) => {
                if let Some(sums) = parts.leaks.get(&offset) {
                    leaked.entry((site.stack, site.size)).or_default().add(*sums);
                }
                sites.push(site);
            }
            None => losses.unreadable_sites += 1,
        }
    }
    sites.sort_unstable_by_key(|site| (site.stack, site.size));
    // What several lanes saw of one stack, or one lane by two ways to it.
    sites.dedup_by(|next, kept| {
        let same = (next.stack, next.size) == (kept.stack, kept.size);
        if same {
            kept.values.add(next.values);
            kept.truncated |= next.truncated;
            kept.unwalkable |= next.unwalkable;
        }
        same
    });
    if !leaked.is_empty() {
        for site in &mut sites {
            if let Some(sums) = leaked.get(&(site.stack, site.size)) {
                let values = &mut site.values;
                (values.leaked_objects, values.leaked_space) = sums.of(values.inuse_objects(), values.inuse_space());
            }
        }
    }
    sites.shrink_to_fit();
    sites
}

/// A site as one lane has it. The frees of an alias count where the blocks were allocated. `None` where what it leads to cannot be read.
fn counted(parts: &Parts<'_>, site: View<'_>, epoch: u32, at_peak: bool) -> Option<Site> {
    let found = parts.follow(site)?;
    let mut values = values(found, epoch, at_peak);
    let mut home = found;
    if flags(found) & site_flag::ALIAS != 0 {
        home = parts.follow(parts.site_at(found.stack_record.u64(offset_of!(StackRecord, size)))?)?;
        if flags(home) & site_flag::ALIAS != 0 {
            return None;
        }
        values.timed_frees = 0;
    }
    Some(Site {
        stack: home.stack,
        truncated: flags(home) & site_flag::TRUNCATED != 0,
        unwalkable: flags(home) & site_flag::UNWALKABLE != 0,
        size: home.stack_record.u64(offset_of!(StackRecord, size)),
        values,
    })
}

fn flags(parts: SiteParts<'_>) -> u32 {
    parts.stack_record.u32(offset_of!(StackRecord, flags))
}

fn values(parts: SiteParts<'_>, epoch: u32, at_peak: bool) -> SiteValues {
    use layout::Site as S;
    let site = parts.site;
    let frees = site.u64(offset_of!(S, frees));
    let peak = |at: usize| parts.peak.map_or(0, |peak| peak.i64(at));
    let mut values = SiteValues {
        alloc_objects: site.u64(offset_of!(S, alloc_objects)),
        alloc_space: site.u64(offset_of!(S, alloc_space)),
        frees,
        freed_space: site.u64(offset_of!(S, freed_space)),
        peak_objects: peak(offset_of!(PeakRecord, objects)),
        peak_space: peak(offset_of!(PeakRecord, space)),
        reallocs: u64::from(site.u32(offset_of!(S, reallocs))),
        lifetime_space: site.u64(offset_of!(S, lifetime_space)),
        timed_frees: frees,
        temporary: u64::from(site.u32(offset_of!(S, temporary))),
        short_lived: u64::from(site.u32(offset_of!(S, short_lived))),
        leaked_objects: 0,
        leaked_space: 0,
    };
    // What was kept is the value at the peak only if the site changed since; else it still has it.
    if at_peak || site.u32(offset_of!(S, epoch)) != epoch {
        values.peak_objects = values.inuse_objects();
        values.peak_space = values.inuse_space();
    }
    values
}

fn end(file: View<'_>, message: Option<Vec<u8>>) -> End {
    let state = file.u32(offset_of!(Header, state));
    End {
        whole: (state::RETURNED..=state::EXITED).contains(&state),
        started: state >= state::OPEN,
        outcome: match file.u32(offset_of!(Header, outcome)) {
            outcome::OK => Some(OutcomeCode::Ok),
            outcome::FAILED => Some(OutcomeCode::Failed),
            outcome::TIMED_OUT => Some(OutcomeCode::TimedOut),
            _ => None,
        },
        wait_status: file.u32(offset_of!(Header, wait_status)) as i32,
        state,
        message: message.map(|text| String::from_utf8_lossy(&text).into_owned()),
    }
}

fn identity(text: &mut HashMap<String, Vec<u8>>) -> Identity {
    let mut take = |key: &str| text.remove(key).unwrap_or_default();
    let lossy = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Identity {
        name: lossy(take("name")),
        exe: PathBuf::from(OsString::from_vec(take("exe"))),
        package: lossy(take("package")),
        manifest_dir: PathBuf::from(OsString::from_vec(take("manifest_dir"))),
        source_file: lossy(take("source_file")),
        start_line: lossy(take("start_line")).parse().unwrap_or(0),
        root: lossy(take("root")),
        benchmark: Benchmark::from_text(&lossy(take("ps_per_iter"))),
        hook: Hook::named(&lossy(take("hook"))).unwrap_or_default(),
        // In the header.
        seed: Seed::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Finish, LedgerFile};
    use super::*;

    fn identity() -> Identity {
        Identity {
            name: "a::b".to_owned(),
            exe: "/x/y".into(),
            package: "p".to_owned(),
            manifest_dir: "/x".into(),
            source_file: "src/lib.rs".to_owned(),
            start_line: 7,
            root: "r".to_owned(),
            benchmark: Some(Benchmark::Iteration { ps: 1_500 }),
            hook: Hook::NativePartial,
            seed: Seed(0x1234_5678_9abc_def0),
        }
    }

    /// A ledger as the parent makes and closes it, without a child in between.
    fn empty_ledger() -> Vec<u8> {
        let path =
            std::env::temp_dir().join(format!("memprof-{}-{:?}", std::process::id(), std::thread::current().id()));
        let file = LedgerFile::create(&path, 512, &identity()).unwrap();
        file.finish(Finish { outcome: OutcomeCode::Failed, wait_status: 9, wall_ns: 5 }).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        bytes
    }

    #[test]
    fn what_the_parent_writes_is_read_back() {
        let ledger = read(&empty_ledger()).unwrap();
        assert_eq!(ledger.identity, identity());
        assert_eq!((ledger.rate, ledger.wall_ns), (512, 5));
        assert_eq!(ledger.end.outcome, Some(OutcomeCode::Failed));
        assert!(!ledger.end.started && !ledger.end.whole);
        assert_eq!(ledger.end.wait_status, 9);
        assert_eq!(ledger.losses.unreadable_bytes, 0);
    }

    #[test]
    fn what_is_not_a_ledger_is_refused() {
        assert_eq!(read(b"").unwrap_err(), LedgerError::NotALedger);
        assert_eq!(read(&[0; 9000]).unwrap_err(), LedgerError::NotALedger);
        let mut bytes = empty_ledger();
        bytes[offset_of!(Header, version)] = 99;
        assert!(matches!(read(&bytes), Err(LedgerError::Version(_))));
    }

    #[test]
    fn a_ledger_cut_at_any_byte_or_with_any_bit_flipped_never_panics() {
        let bytes = empty_ledger();
        // Under Miri as many as take some seconds.
        let step = if cfg!(miri) { 1500 } else { 1 };
        for len in (0..bytes.len().min(9000)).step_by(step) {
            let _ = read(&bytes[..len]);
        }
        for at in (0..bytes.len().min(9000)).step_by(step) {
            for bit in 0..8 {
                let mut bytes = bytes.clone();
                bytes[at] ^= 1 << bit;
                bytes.truncate(9000);
                let _ = read(&bytes);
            }
        }
    }
}
