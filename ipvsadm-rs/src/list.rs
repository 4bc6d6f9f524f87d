//! `-L`: services and dests; and what else the daemon tells of itself
//! (`--timeout`, `--daemon`).

use dpvs_ctl::msg::{SyncDaemon, sync_role};
use dpvs_ctl::{Client, CtlError};

use crate::args::{Command, Opt};
use crate::failure::Failure;
use crate::format::{Style, dest_line, service_line, title};
use crate::json::{self, Array};
use crate::names::Names;
use crate::out::{Out, line};
use crate::table::{self, Row};

/// Lists one service or all.
pub(crate) fn run(
    client: &Client,
    names: &Names,
    out: &mut Out,
    command: &Command,
) -> Result<(), Failure> {
    let style = Style {
        names,
        numeric: command.numeric(),
        exact: command.given.has(Opt::Exact),
        view: command.view(),
    };
    let sort = !command.given.has(Opt::NoSort);
    let as_json = command.given.has(Opt::Json);
    if command.given.has(Opt::Service) {
        let row = table::one(client, &command.service, command.cpu, sort)?;
        if as_json {
            return line!(out, "{}", json::array([json::service(&row)]));
        }
        line!(out, "{}", title(style.view))?;
        return print(out, &row, &style);
    }
    if as_json {
        let mut array = Array::begin(out)?;
        table::all(client, command.cpu, sort, |row| {
            array.push(out, &json::service(&row))?;
            Ok(!out.is_closed())
        })?;
        return array.end(out);
    }
    let info = client.info().map_err(|e| Failure::of(&e, |_| None))?;
    let [_, major, minor, patch] = info.version.to_be_bytes();
    let mut begun = false;
    let begin = |out: &mut Out| {
        line!(
            out,
            "IP Virtual Server version {major}.{minor}.{patch} (size={})",
            info.size
        )?;
        line!(out, "{}", title(style.view))
    };
    table::all(client, command.cpu, sort, |row| {
        if !begun {
            begin(out)?;
            begun = true;
        }
        print(out, &row, &style)?;
        Ok(!out.is_closed())
    })?;
    if !begun {
        begin(out)?;
    }
    Ok(())
}

fn print(out: &mut Out, row: &Row, style: &Style<'_>) -> Result<(), Failure> {
    let text = out.text();
    service_line(text, row, style);
    for dest in &row.dests {
        dest_line(text, &row.service, dest, style);
    }
    out.spill()
}

/// `-L --timeout`.
pub(crate) fn timeouts(client: &Client, out: &mut Out, as_json: bool) -> Result<(), Failure> {
    let t = client.timeouts().map_err(untold)?;
    if as_json {
        return line!(out, "{}", json::timeouts(&t));
    }
    line!(
        out,
        "Timeout (tcp tcpfin udp): {} {} {}",
        t.tcp,
        t.tcp_fin,
        t.udp
    )
}

/// `-L --daemon`.
pub(crate) fn daemons(client: &Client, out: &mut Out, as_json: bool) -> Result<(), Failure> {
    let list = client.sync_daemons().map_err(untold)?;
    if as_json {
        return line!(out, "{}", json::array(list.iter().map(json::sync_daemon)));
    }
    for d in list {
        line!(out, "{}", daemon_line(&d))?;
    }
    Ok(())
}

fn daemon_line(d: &SyncDaemon) -> String {
    let role = role(d);
    let group = d
        .group
        .to_ip(d.af)
        .map_or("?".to_owned(), |ip| ip.to_string());
    format!(
        "{role} sync daemon (mcast={}, syncid={}, maxlen={}, group={group}, port={}, ttl={})",
        d.ifname, d.sync_id, d.max_len, d.port, d.ttl
    )
}

/// The name of a daemon's role.
pub(crate) fn role(d: &SyncDaemon) -> &'static str {
    if d.role == sync_role::MASTER {
        "master"
    } else {
        "backup"
    }
}

/// A daemon that does not know the question closes the connection.
fn untold(e: CtlError) -> Failure {
    if matches!(e, CtlError::ShortReply { got: 0, .. }) {
        return Failure::refused(1, "this dpvs does not tell");
    }
    Failure::of(&e, |_| None).or_code(1)
}
