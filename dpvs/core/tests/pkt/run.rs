//! Runs a packet script line by line.
//!
//! Every error names file, line and what was found instead of what was expected.

use std::collections::BTreeMap;

use dpvs_core::stats::Reason;

use super::lab::{Lab, Way};
use super::packet::{MACS, Text};
use super::vars::Vars;
use super::{build, decode, pieces};

/// A script on its way.
pub(super) struct Run {
    pub(super) lab: Lab,
    pub(super) vars: Vars,
    /// Drops that were expected so far, by reason.
    seen: BTreeMap<&'static str, u64>,
    burst: Option<Vec<Vec<u8>>>,
    /// What is handed over reaches its worker at once.
    gather: bool,
    late: bool,
    last_input: usize,
    /// The last frame sent that was expected, for `about=N`.
    last_out: Vec<u8>,
}

/// Runs a script; `Err` says what is wrong and where.
pub fn run(name: &str, script: &str) -> Result<(), String> {
    play(name, script, Lab::new()).map(|_| ())
}

/// The same with a director of the caller's, which is returned.
pub fn play(name: &str, script: &str, lab: Lab) -> Result<Lab, String> {
    let mut run = Run {
        lab,
        vars: Vars::default(),
        seen: BTreeMap::new(),
        burst: None,
        gather: false,
        late: false,
        last_input: 0,
        last_out: Vec::new(),
    };
    let lines: Vec<&str> = script.lines().collect();
    let at = |no: usize, e: String| {
        let line = lines.get(no).copied().unwrap_or("").trim();
        format!("{name}:{}: {line}\n    {e}", no + 1)
    };
    run.lines(&lines, 0, &at)?;
    run.settled().map_err(|e| {
        at(
            run.last_input,
            format!("{e}\n    (at the end of the script)"),
        )
    })?;
    Ok(run.lab)
}

fn clean(line: &str) -> &str {
    let code = if line.starts_with('#') {
        ""
    } else {
        line.split(" #").next().unwrap_or("")
    };
    code.trim()
}

impl Run {
    /// Runs lines, the first of which is number `first`.
    fn lines(
        &mut self,
        lines: &[&str],
        first: usize,
        at: &dyn Fn(usize, String) -> String,
    ) -> Result<(), String> {
        let mut no = 0;
        while no < lines.len() {
            let line = clean(lines[no]);
            if let Some(rest) = line.strip_prefix("repeat ") {
                let n = self.vars.number(rest.trim());
                let n = n.map_err(|e| at(first + no, e))?;
                let mut open = 0;
                let len = lines[no..].iter().position(|l| {
                    let l = clean(l);
                    open += i32::from(l.starts_with("repeat ")) - i32::from(l == "end");
                    open == 0
                });
                let len = len.ok_or_else(|| at(first + no, "`repeat` without `end`".into()))?;
                for i in 0..n {
                    self.vars.set("i", i.to_string());
                    self.lines(&lines[no + 1..no + len], first + no + 1, at)
                        .map_err(|e| format!("{e}\n    in round i={i}"))?;
                }
                no += len;
            } else {
                self.line(first + no, line).map_err(|e| at(first + no, e))?;
            }
            no += 1;
        }
        Ok(())
    }

    fn line(&mut self, no: usize, line: &str) -> Result<(), String> {
        if line.is_empty() {
            return Ok(());
        }
        let mut line = self.vars.fill(line)?;
        if let Some(rest) = line.clone().strip_prefix('+') {
            let (secs, rest) = rest.split_once(' ').ok_or("nothing behind the time")?;
            self.wait(secs)?;
            line = rest.trim().into();
        }
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((&line, ""));
        let (word, worker) = match word.split_once('@') {
            Some((word, w)) => (word, self.vars.field(w, 8)? as u8),
            None => (word, 0),
        };
        let words: Vec<&str> = rest.split_whitespace().collect();
        match word {
            "in" => {
                self.last_input = no;
                return self.input(worker, rest, false);
            }
            "kernel" => {
                self.last_input = no;
                return self.input(worker, rest, true);
            }
            "burst" => {
                self.settled()?;
                self.burst = Some(Vec::new());
            }
            "go" => {
                let frames = self.burst.take().ok_or("`go` without `burst`")?;
                let port = self.vars.field(rest, 16)? as u16;
                self.lab.publish();
                self.lab.input(worker, port, &frames)?;
            }
            "wait" => {
                self.last_input = no;
                self.wait(rest.trim_end_matches('s'))?;
            }
            "out" | "host" | "hand" => return self.expect(word, rest),
            "drop" => return self.drop(&words),
            "drained" => {
                let at = self.lab.drained.iter().position(|d| d == rest);
                let at =
                    at.ok_or_else(|| format!("not reported; reported are {:?}", self.lab.drained))?;
                self.lab.drained.remove(at);
            }
            "gather" => (self.gather, self.late) = (rest != "off", rest == "late"),
            "forget" => self.vars.forget(rest),
            "reported" => {
                self.lab.pass(0);
                let said = std::mem::take(&mut self.lab.reported);
                let said: Vec<&str> = said
                    .iter()
                    .map(|(_, up)| if *up { "up" } else { "down" })
                    .collect();
                return self.same("reported", rest, &said.join(" "));
            }
            "duplicate" => {
                self.lab.pass(0);
                let heard = std::mem::take(&mut self.lab.duplicates);
                let heard: Vec<_> = heard.iter().map(ToString::to_string).collect();
                return self.same("duplicates", rest, &heard.join(" "));
            }
            "flood" => {
                let got: Vec<_> = std::mem::take(&mut self.lab.floods)
                    .iter()
                    .map(|on| if *on { "on" } else { "off" })
                    .collect();
                if got != words {
                    return Err(format!("reported is {got:?}"));
                }
            }
            "drain" => self.lab.sink.out.clear(),
            "reassemble" => self.reassemble()?,
            "tally" => return self.tally(&words),
            "let" => {
                let (name, value) = rest.split_once('=').ok_or("`let name=sum`")?;
                let value = self.vars.number(value)?.to_string();
                self.vars.set(name, value);
            }
            // Sequence numbers rise, modulo 2^32.
            "later" => {
                let [a, b] = words[..] else {
                    return Err("`later OLD NEW`".into());
                };
                let ahead = (self.vars.number(b)? - self.vars.number(a)?) as i32;
                if ahead <= 0 {
                    return Err(format!("it is {} behind", -ahead));
                }
            }
            "conns" | "dest-is" | "ports" | "queue" | "stat" | "state" | "neighbour" | "inet"
            | "listed" => {
                self.lab.publish();
                return self.check(word, &words);
            }
            _ => {
                self.settled()?;
                self.last_input = no;
                let words: Vec<&str> = line.split_whitespace().collect();
                if !self.lab.config(&words, &self.vars)? {
                    return Err(format!("`{word}` is no line this language has"));
                }
                if !self.lab.workers.is_empty() {
                    self.lab.publish();
                }
            }
        }
        Ok(())
    }

    /// Nothing unexpected is left over.
    fn settled(&mut self) -> Result<(), String> {
        self.lab.balanced()?;
        if let Some((way, bytes)) = self.lab.sink.out.front() {
            return Err(format!("not expected: {}", show(*way, bytes)));
        }
        for reason in Reason::ALL.iter().filter(|r| **r != Reason::Consumed) {
            let new = self.lab.drops(*reason);
            let new = new - self.seen.get(reason.text()).unwrap_or(&0);
            if new > 0 {
                return Err(format!("not expected: {new} dropped as {}", reason.text()));
            }
        }
        match self.lab.drained.first() {
            Some(dest) => Err(format!("not expected: {dest} drained")),
            None => Ok(()),
        }
    }

    fn wait(&mut self, secs: &str) -> Result<(), String> {
        self.settled()?;
        self.lab.publish();
        let secs: f64 = secs
            .trim()
            .parse()
            .map_err(|_| format!("`{secs}` is no time in seconds"))?;
        self.lab.pass((secs * 1e6) as u64);
        Ok(())
    }

    fn input(&mut self, worker: u8, rest: &str, kernels: bool) -> Result<(), String> {
        self.settled()?;
        let (port, packet) = rest.split_once(' ').ok_or("`in PORT PACKET`")?;
        let port = self.vars.field(port, 16)? as u16;
        let mut packet = Text::parse(packet)?;
        if let Some(n) = packet.get("about") {
            // What a router quotes of the frame it could not pass on.
            let n = self.vars.field(n, 16)? as usize;
            let quote = self.last_out.get(14..14 + n);
            let quote = quote.ok_or("no such frame was sent before")?;
            let hex: Vec<_> = quote.iter().map(|b| format!("{b:02x}")).collect();
            packet.push("hex", hex.concat());
        }
        let peer = if port == 0 { "client" } else { "rs" };
        let peer = MACS.iter().find(|m| m.0 == peer).map_or([0; 6], |m| m.1);
        let mut ends = (self.lab.mac(port)?, peer);
        if kernels {
            ends = (ends.1, ends.0);
        }
        let frame = build::frame(&packet, &self.vars, ends.0, ends.1)?;
        let mut frames = vec![frame];
        if let Some(room) = packet.get("pieces") {
            let id = packet
                .get("ipid")
                .map_or(Ok(9), |v| self.vars.field(v, 32))?;
            let all = pieces::cut(&frames[0], self.vars.field(room, 16)? as usize, id);
            frames = match packet.get("order") {
                Some(order) => {
                    let pick = |n: &str| all.get(n.parse::<usize>().ok()?).cloned();
                    let picked = order.split(',').map(pick).collect::<Option<_>>();
                    picked.ok_or_else(|| format!("there are {} pieces", all.len()))?
                }
                None => all,
            };
        }
        if let Some(burst) = &mut self.burst {
            burst.extend(frames);
            return Ok(());
        }
        self.lab.publish();
        for frame in frames {
            if kernels {
                self.lab.kernel(worker, port, &frame)?;
            } else {
                self.lab.input(worker, port, &[frame])?;
            }
            if self.gather && !self.late {
                self.lab.gather()?;
            }
        }
        if self.late {
            self.lab.gather()?;
        }
        Ok(())
    }

    fn expect(&mut self, word: &str, rest: &str) -> Result<(), String> {
        let (port, packet) = rest.split_once(' ').unwrap_or((rest, ""));
        let port = self.vars.field(port, 16)? as u16;
        let kind = |way: &Way| match way {
            Way::Out(_) => "out",
            Way::Host(_) => "host",
            Way::Hand(..) => "hand",
        };
        let out = &mut self.lab.sink.out;
        let Some(at) = out.iter().position(|(way, _)| kind(way) == word) else {
            let drops: Vec<_> = Reason::ALL
                .iter()
                .filter(|r| self.lab.drops(**r) > *self.seen.get(r.text()).unwrap_or(&0))
                .map(|r| r.text())
                .collect();
            let rest: Vec<_> = self.lab.sink.out.iter().map(|(w, b)| show(*w, b)).collect();
            return Err(format!("nothing came; dropped: {drops:?}; came: {rest:?}"));
        };
        let Some((way, bytes)) = out.remove(at) else {
            return Ok(());
        };
        let got = decode::frame(&bytes)
            .map_err(|e| format!("what came is no sound packet: {e}\n    {bytes:02x?}"))?;
        let right = match way {
            Way::Out(p) | Way::Host(p) => p == port,
            Way::Hand(w, _) => u16::from(w) == port,
        };
        if !right {
            return Err(format!("came elsewhere: {}", show(way, &bytes)));
        }
        if !packet.is_empty() {
            let want = Text::parse(packet)?;
            if let Some(why) = want.differs(&got, &mut self.vars) {
                return Err(format!("{why}\n    came: {}", show(way, &bytes)));
            }
        }
        if let Way::Out(p) = way {
            let own = super::packet::mac_name(&self.lab.mac(p)?);
            if got.get("smac") != Some(&own) {
                return Err(format!("sent with a foreign MAC address: {got}"));
            }
        }
        if matches!(way, Way::Out(_) | Way::Host(_)) {
            self.last_out.clone_from(&bytes);
        }
        if let Way::Hand(worker, port) = way {
            self.lab.handed(worker, port, &bytes)?;
        }
        Ok(())
    }

    fn drop(&mut self, words: &[&str]) -> Result<(), String> {
        let (name, least, most) = match *words {
            [name] => (name, "1", "1"),
            [name, n] => n
                .split_once('-')
                .map_or((name, n, n), |(least, most)| (name, least, most)),
            _ => return Err("`drop REASON [N|N-M]`".into()),
        };
        let bound = |n| self.vars.field(n, 32).map(u64::from);
        let range = bound(least)?..=bound(most)?;
        let reason = Reason::ALL
            .iter()
            .find(|r| r.text() == name)
            .ok_or_else(|| format!("`{name}` is no reason"))?;
        let total = self.lab.drops(*reason);
        let seen = self.seen.entry(reason.text()).or_default();
        let new = total - *seen;
        *seen = total;
        if !range.contains(&new) {
            let others: Vec<_> = self.lab.sink.out.iter().map(|(w, b)| show(*w, b)).collect();
            return Err(format!("{new} dropped for that reason; came: {others:?}"));
        }
        Ok(())
    }

    fn tally(&mut self, words: &[&str]) -> Result<(), String> {
        let mut count: BTreeMap<String, u64> = BTreeMap::new();
        let out = &mut self.lab.sink.out;
        while let Some(at) = out.iter().position(|(w, _)| matches!(w, Way::Out(_))) {
            let Some((_, bytes)) = out.remove(at) else {
                break;
            };
            let dst = decode::frame(&bytes)?.dst;
            let dst = dst.rsplit_once(':').map_or(&dst[..], |d| d.0).to_owned();
            *count.entry(dst).or_default() += 1;
        }
        for word in words {
            let (addr, n) = word.rsplit_once('=').ok_or("`tally ADDRESS=N ...`")?;
            let n = u64::from(self.vars.field(n, 32)?);
            if count.remove(addr).unwrap_or(0) != n {
                return Err(format!(
                    "{addr} did not get {n}: rerun with the rest {count:?}"
                ));
            }
        }
        if count.is_empty() {
            Ok(())
        } else {
            Err(format!("others got packets: {count:?}"))
        }
    }

    /// Joins the fragments that came out into one frame.
    fn reassemble(&mut self) -> Result<(), String> {
        let came: Vec<_> = self.lab.sink.out.drain(..).collect();
        let way = came.first().ok_or("nothing came")?.0;
        if let Some((other, _)) = came.iter().find(|(w, _)| *w != way) {
            return Err(format!("they go {way:?} and {other:?}"));
        }
        for (_, frame) in &came {
            decode::frame(frame)?;
        }
        let frames: Vec<_> = came.into_iter().map(|(_, f)| f).collect();
        let whole = pieces::join(&frames)?;
        self.lab.sink.out.push_back((way, whole));
        Ok(())
    }
}

fn show(way: Way, bytes: &[u8]) -> String {
    let packet = match decode::frame(bytes) {
        Ok(text) => text.to_string(),
        Err(e) => format!("{e}: {bytes:02x?}"),
    };
    match way {
        Way::Out(p) => format!("out {p} {packet}"),
        Way::Host(p) => format!("host {p} {packet}"),
        Way::Hand(w, p) => format!("hand {w} {packet} (from port {p})"),
    }
}
