//! What is seen on the wires: captures, traffic statistics, LLDP.

use std::time::{Duration, Instant};

use dpvs_core::frame::PortId;
use dpvs_core::frame::WorkerId;
use dpvs_core::message::ToWorker;
use dpvs_ctl::msg::{
    CaptureConf, CaptureFrame, IfTraf, LldpMessage, LldpParam, capture_dir, encode_capture,
};
use dpvs_ctl::wire::encode_counted;
use dpvs_ctl::{Af, Ip16, Name, Wire};

use super::{Answer, exact};
use crate::master::Master;
use crate::master::error::{Fault, Result};
use crate::master::lldp::{GROUP, Local};
use crate::master::traffic::Line;
use crate::watch::Filter;

/// A capture that nobody reads ends after that long.
const UNREAD: Duration = Duration::from_secs(5);
/// Bytes of frames in one answer, about.
const ANSWER: usize = 256 * 1024;

impl Master {
    pub(super) fn capture_start(&mut self, body: &[u8]) -> Result<Answer> {
        let conf: CaptureConf = exact(body)?;
        let port = if conf.ifname.is_empty() {
            None
        } else {
            let found = self.state.links.find(conf.ifname.bytes());
            Some(found.ok_or(Fault::NoDevice)?)
        };
        let links = &self.state.links;
        if port.is_some_and(|port| links.tunnel(port).is_some()) {
            return Err(Fault::Unsupported(
                "a tunnel's packets are seen on its port",
            ));
        }
        // What a VLAN device receives and sends is seen on its port, with the tag.
        let tag = port.and_then(|port| links.tag(port));
        let host = match conf.af {
            Af::UNSPEC => None,
            af => Some(
                conf.host
                    .to_ip(af)
                    .ok_or(Fault::Invalid("no such family"))?,
            ),
        };
        let some = |n: u16| (n != 0).then_some(n);
        let filter = Filter {
            port: tag.map(|tag| tag.parent).or(port),
            vlan: tag.map(|tag| tag.id),
            received: conf.dirs & capture_dir::IN != 0,
            sent: conf.dirs & capture_dir::OUT != 0,
            proto: (conf.proto != 0).then_some(conf.proto),
            host,
            l4_port: some(conf.port),
            snaplen: conf.snaplen.clamp(14, 65_536),
        };
        if self.capture.is_some() {
            return Err(Fault::Exists);
        }
        let watch = self.netif.watch();
        watch
            .ok_or(Fault::Unsupported("no ports to look at"))?
            .capture(filter);
        self.capture = Some((conf.token, Instant::now()));
        Ok(Answer::Done)
    }

    pub(super) fn capture_stop(&mut self, body: &[u8]) -> Result<Answer> {
        let conf: CaptureConf = exact(body)?;
        self.capture
            .take_if(|(token, _)| *token == conf.token)
            .ok_or(Fault::Missing)?;
        if let Some(watch) = self.netif.watch() {
            watch.end_capture();
        }
        Ok(Answer::Done)
    }

    pub(super) fn capture_read(&mut self, body: &[u8]) -> Result<Answer> {
        let conf: CaptureConf = exact(body)?;
        match &mut self.capture {
            Some((token, read)) if *token == conf.token => *read = Instant::now(),
            _ => return Err(Fault::Missing),
        }
        let watch = self.netif.watch().ok_or(Fault::Missing)?;
        let (mut frames, mut bytes) = (Vec::new(), 0);
        while bytes < ANSWER
            && let Some(seen) = watch.next()
        {
            bytes += seen.bytes.len() + CaptureFrame::SIZE;
            let dir = if seen.sent {
                capture_dir::OUT
            } else {
                capture_dir::IN
            };
            let frame = CaptureFrame {
                at: seen.at,
                len: seen.len,
                caplen: u32::try_from(seen.bytes.len()).unwrap_or(u32::MAX),
                ifname: Name::truncated(self.state.links.name(seen.port)),
                dir,
            };
            frames.push((frame, seen.bytes));
        }
        Ok(Answer::Body(encode_capture(watch.lost(), &frames)))
    }

    pub(super) fn traffic_switch(&mut self, on: bool) -> Result<Answer> {
        let watch = self.netif.watch();
        watch
            .ok_or(Fault::Unsupported("no ports to look at"))?
            .sample(on);
        if on != self.traffic.is_some() {
            self.traffic = on.then(Default::default);
        }
        Ok(Answer::Done)
    }

    pub(super) fn traffic_list(&mut self, body: &[u8]) -> Result<Answer> {
        self.sampled();
        let Some(traffic) = &self.traffic else {
            return Ok(Answer::Body(Vec::new()));
        };
        let name = body.split(|b| *b == 0).next().unwrap_or_default();
        // The smallest first, but for the lists of all devices.
        let lines: Vec<Line> = if name.is_empty() {
            traffic.all().into_iter().rev().collect()
        } else if let Some(port) = self.state.links.find(name) {
            traffic.sources(port).into_iter().rev().collect()
        } else {
            let ports = self.state.links.ids();
            ports.flat_map(|port| traffic.device(port)).collect()
        };
        let list: Vec<IfTraf> = lines.iter().map(|line| self.traffic_line(line)).collect();
        Ok(Answer::Body(encode_counted(&list)))
    }

    fn traffic_line(&self, line: &Line) -> IfTraf {
        let short = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        IfTraf {
            af: u8::try_from(Af::of(line.flow.src).0).unwrap_or(0),
            proto: line.flow.proto,
            cid: self.workers.lcore(WorkerId(line.worker)),
            devid: line.port.0,
            ifname: Name::truncated(self.state.links.name(line.port)),
            saddr: Ip16::from_ip(line.flow.src),
            daddr: Ip16::from_ip(line.flow.dst),
            sport: line.flow.sport.into(),
            dport: line.flow.dport.into(),
            total_recv: short(line.bytes.received),
            total_sent: short(line.bytes.sent),
        }
    }

    /// Counts the samples that wait.
    pub(in crate::master) fn sampled(&mut self) {
        if let (Some(traffic), Some(watch)) = (&mut self.traffic, self.netif.watch()) {
            while let Some(sample) = watch.sampled() {
                traffic.count(&sample);
            }
        }
    }

    pub(super) fn lldp_show(&mut self, body: &[u8]) -> Result<Answer> {
        let param: LldpParam = exact(body)?;
        let port = self.state.links.find(param.ifname.bytes());
        let port = port.ok_or(Fault::NoDevice)?;
        let now = Instant::now();
        let text = match param.node {
            0 if self.speaks(port) => {
                let frame = self.lldp_frame(port, now).ok_or(Fault::Missing)?;
                crate::master::lldp::text(frame.get(14..).unwrap_or_default())
            }
            1 => self.lldp.neighbour(port, now).ok_or(Fault::Missing)?,
            0 => return Err(Fault::Missing),
            _ => return Err(Fault::Invalid("no such node")),
        };
        let message = LldpMessage {
            param,
            message: Name::truncated(&text),
        };
        Ok(Answer::Body(message.encode()))
    }

    fn lldp_frame(&mut self, port: PortId, now: Instant) -> Option<Vec<u8>> {
        let link = self.state.links.get(port)?;
        let local = Local {
            name: &link.name,
            mac: link.mac,
            addrs: self.state.addrs.on(port).map(|a| a.ip).collect(),
            index: u32::from(port.0) + 1,
        };
        Some(self.lldp.frame(&local, now))
    }

    /// Whether a device speaks LLDP: those with a wire of their own do.
    pub(super) fn speaks(&self, port: PortId) -> bool {
        usize::from(port.0) < self.state.links.wires.len() && self.lldp.speaks(port)
    }

    /// The group whose frames a port must hear for LLDP.
    pub(in crate::master) fn lldp_group(&self, port: PortId) -> Option<[u8; 6]> {
        self.speaks(port).then_some(GROUP)
    }

    /// Once a second: says who we are when it is due, ends what nobody wants.
    pub(in crate::master) fn look_on(&mut self, now: Instant) {
        self.sampled();
        if let Some(traffic) = &mut self.traffic {
            traffic.turn();
        }
        let unread = |(_, read): &mut (u64, Instant)| now.duration_since(*read) > UNREAD;
        if self.capture.take_if(unread).is_some()
            && let Some(watch) = self.netif.watch()
        {
            watch.end_capture();
        }
        if !self.lldp.due(now) {
            return;
        }
        let Some(worker) = self.workers.ids().next() else {
            return;
        };
        let ports: Vec<PortId> = self.state.links.ids().collect();
        for port in ports {
            if self.speaks(port)
                && let Some(frame) = self.lldp_frame(port, now)
            {
                let frame = frame.into();
                self.workers.send(worker, ToWorker::Send { port, frame });
            }
        }
    }
}
