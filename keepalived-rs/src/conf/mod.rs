//! keepalived.conf: from a file name to a `Config` and a list of findings.
//!
//! `source` makes logical lines of files, `lex` words of lines, `tree` blocks
//! of words; the other files build the typed `model`. Nothing here touches the
//! network, starts anything or ends the process.

mod check;
pub(crate) mod diag;
mod global;
mod groups;
mod keywords;
mod lex;
mod lvs;
pub(crate) mod model;
mod repeat;
mod server;
mod source;
mod tree;
mod values;
mod vrrp;

#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod tests;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use diag::Diags;
use model::{CheckKind, Config, Script};
use tree::Node;

/// What the reader must be told.
pub(crate) struct LoadOptions<'a> {
    /// Selects `@` lines.
    pub(crate) config_id: &'a str,
    /// `-e`: a missing include is an error.
    pub(crate) all_config: bool,
    /// Whether an interface of that name exists now.
    pub(crate) if_exists: &'a dyn Fn(&str) -> bool,
}

/// What came of it.
pub(crate) struct Loaded {
    pub(crate) config: Config,
    pub(crate) diags: Diags,
    /// False when not one file could be read.
    pub(crate) found: bool,
}

/// Reads `path` and all it includes.
pub(crate) fn load(path: &Path, opts: &LoadOptions<'_>) -> Loaded {
    let mut diags = Diags::default();
    let (lines, found) =
        source::Reader::new(opts.config_id, "", opts.all_config, &mut diags).read(path);
    let tree = tree::build(&lines, &mut diags);
    let config = build(&tree, opts.if_exists, &mut diags);
    Loaded {
        config,
        diags,
        found,
    }
}

/// Builds from text, for tests.
#[cfg(test)]
pub(crate) fn load_text(text: &str) -> (Config, Diags) {
    let mut diags = Diags::default();
    let lines = source::Reader::new("lb1", "", false, &mut diags).read_text(text);
    let tree = tree::build(&lines, &mut diags);
    let config = build(&tree, &|_| true, &mut diags);
    (config, diags)
}

/// Blocks that are parsed by nobody yet but have free-form lines inside.
const OPAQUE: [&str; 10] = [
    "vrrp_sync_group",
    "vrrp_script",
    "track_file",
    "vrrp_track_file",
    "vrrp_track_process",
    "bfd_instance",
    "garp_group",
    "track_group",
    "SSL",
    "linkbeat_interfaces",
];

fn build(tree: &[Node], exists: &dyn Fn(&str) -> bool, diags: &mut Diags) -> Config {
    let mut c = Config::default();
    // Global settings first: they are defaults wherever they stand in the file.
    for n in tree {
        match n.key() {
            "global_defs" => global::defs(n, &mut c.globals, diags),
            "use_pid_dir" => c.globals.use_pid_dir = true,
            "instance" => c.globals.instance = values::arg(n, 1, diags).map(str::to_owned),
            _ => {}
        }
    }
    // Then everything that is referred to by name.
    for n in tree {
        match n.key() {
            "local_address_group" => c.laddr_groups.extend(groups::laddr(n, diags)),
            "deny_address_group" => c.deny_groups.extend(groups::list(n, diags)),
            "allow_address_group" => c.allow_groups.extend(groups::list(n, diags)),
            "virtual_server_group" => c.vs_groups.extend(groups::services(n, diags)),
            "tunnel_group" => c.tunnels.extend(groups::tunnels(n, diags)),
            _ => {}
        }
    }
    for n in tree {
        match n.key() {
            "global_defs"
            | "use_pid_dir"
            | "instance"
            | "local_address_group"
            | "deny_address_group"
            | "allow_address_group"
            | "virtual_server_group"
            | "tunnel_group" => {}
            "vrrp_instance" => instance(n, &mut c, exists, diags),
            "virtual_server" => {
                let all = c.globals.log_all_failures;
                c.services
                    .extend(lvs::virtual_server(n, &c.vs_groups, all, diags));
            }
            key if OPAQUE.contains(&key) => {
                diags.note(
                    Some(&n.pos),
                    format!("'{key}' is accepted but not supported yet: it has no effect"),
                );
            }
            _ => keywords::not_taken("(root)", n, diags),
        }
    }
    references(&c, diags);
    scripts(tree, &mut c, diags);
    c
}

fn instance(n: &Node, c: &mut Config, exists: &dyn Fn(&str) -> bool, diags: &mut Diags) {
    if n.word(1)
        .is_some_and(|name| c.instances.iter().any(|i| i.name == name))
    {
        diags.error(
            Some(&n.pos),
            format!(
                "vrrp instance {} already defined",
                n.word(1).unwrap_or_default()
            ),
        );
        return;
    }
    let Some(new) = vrrp::instance(n, &c.globals, exists, diags) else {
        return;
    };
    // The same VRID twice on a wire works only when unicasting to different peers.
    let twin = c.instances.iter().find(|i| {
        i.vrid == new.vrid
            && i.interface == new.interface
            && (i.peers.is_empty() || new.peers.is_empty())
    });
    if let Some(twin) = twin {
        diags.error(
            Some(&n.pos),
            format!(
                "{} and {} both use VRID {} with IPv4 on interface {}",
                twin.name, new.name, new.vrid, new.interface
            ),
        );
        return;
    }
    c.instances.push(new);
}

/// Names of groups that do not exist.
fn references(c: &Config, diags: &mut Diags) {
    for vs in &c.services {
        let missing = |name: &Option<String>, known: bool| name.is_some() && !known;
        let has =
            |n: &Option<String>, list: Vec<&str>| n.as_deref().is_some_and(|n| list.contains(&n));
        let laddrs = c.laddr_groups.iter().map(|g| g.name.as_str()).collect();
        if missing(&vs.laddr_group, has(&vs.laddr_group, laddrs)) {
            diags.error(
                None,
                format!(
                    "Virtual server {}: local_address_group {} does not exist: FNAT cannot forward without local addresses",
                    vs.name,
                    vs.laddr_group.as_deref().unwrap_or_default()
                ),
            );
        }
        let deny = c.deny_groups.iter().map(|g| g.name.as_str()).collect();
        let allow = c.allow_groups.iter().map(|g| g.name.as_str()).collect();
        for (kind, name, known) in [
            (
                "deny_address_group",
                &vs.deny_group,
                has(&vs.deny_group, deny),
            ),
            (
                "allow_address_group",
                &vs.allow_group,
                has(&vs.allow_group, allow),
            ),
        ] {
            if missing(name, known) {
                diags.error(
                    None,
                    format!(
                        "Virtual server {}: {kind} {} does not exist",
                        vs.name,
                        name.as_deref().unwrap_or_default()
                    ),
                );
            }
        }
        if vs.method == model::Method::FullNat && vs.laddr_group.is_none() {
            diags.note(
                None,
                format!(
                    "Virtual server {}: FNAT without laddr_group_name: it forwards only once local addresses are added by hand",
                    vs.name
                ),
            );
        }
    }
}

/// Scripts run as root only where script security is switched on.
fn scripts(tree: &[Node], c: &mut Config, diags: &mut Diags) {
    let default_user = c.globals.script_user.clone().or_else(|| {
        let known = nix::unistd::User::from_name("keepalived_script")
            .ok()
            .flatten();
        known.map(|u| (u.name, None))
    });
    let mut as_root = false;
    let mut visit = |s: &mut Script| {
        if s.user.is_none()
            && let Some((user, group)) = &default_user
        {
            s.user = Some(user.clone());
            s.group.clone_from(group);
        }
        let runs = s.argv.first().is_some_and(|p| executable(Path::new(p)));
        as_root |= runs && s.user.as_deref().unwrap_or("root") == "root";
    };
    for vs in &mut c.services {
        [&mut vs.quorum_up, &mut vs.quorum_down]
            .into_iter()
            .flatten()
            .for_each(&mut visit);
        for rs in &mut vs.servers {
            [&mut rs.notify_up, &mut rs.notify_down]
                .into_iter()
                .flatten()
                .for_each(&mut visit);
            for check in &mut rs.checks {
                if let CheckKind::Misc(m) = &mut check.kind {
                    visit(&mut m.script);
                }
            }
        }
    }
    for i in &mut c.instances {
        let n = &mut i.notify;
        [
            &mut n.master,
            &mut n.backup,
            &mut n.fault,
            &mut n.stop,
            &mut n.any,
        ]
        .into_iter()
        .flatten()
        .for_each(&mut visit);
    }
    // Not run yet, but a file that breaks the rules must not pass the test.
    for n in tree.iter().filter(|n| n.key() == "vrrp_script") {
        let mut user = None;
        let mut command = None;
        for line in n.children() {
            match line.key() {
                "script" => command = values::script(line, diags),
                "user" => user = line.word(1).map(str::to_owned),
                _ => {}
            }
        }
        if let Some(mut s) = command {
            s.user = user.or(s.user);
            visit(&mut s);
        }
    }
    if as_root && !c.globals.script_security {
        diags.security(
            None,
            "SECURITY VIOLATION - scripts are being executed but script_security not enabled.",
        );
    }
}

fn executable(path: &Path) -> bool {
    path.is_absolute()
        && std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}
