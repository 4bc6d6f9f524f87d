//! TCP states as a middlebox sees them, in DPVS's table.
//!
//! One flag of a segment counts, by priority RST, SYN, FIN, ACK. Three tables:
//! packets from the client, packets from the server, and packets from the client
//! where those of the server are never seen (direct routing, tunnel).

use super::Dir;
use dpvs_wire::tcp::{ACK, FIN, RST, SYN};

/// State of a connection. The numbers index the time-outs
/// ([`crate::snapshot::Timeouts::tcp`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// Just made.
    #[default]
    None = 0,
    /// Established: the only one that counts as active.
    Established,
    /// The server opens, or a proxied SYN is under way.
    SynSent,
    /// The client's SYN was seen.
    SynRecv,
    /// One side is done.
    FinWait,
    /// Both sides are done.
    TimeWait,
    /// Reset, or nothing that makes sense.
    Close,
    /// The client is done first.
    CloseWait,
    /// Waits for the last ACK.
    LastAck,
    /// Listening (in the tables only).
    Listen,
    /// SYN cookie sent.
    SynAck,
}

use State::{
    Close as CL, CloseWait as CW, Established as ES, FinWait as FW, LastAck as LA, Listen as LI,
    None as NO, SynAck as SA, SynRecv as SR, SynSent as SS, TimeWait as TW,
};

/// Number of states.
pub const STATES: usize = 11;

/// Next state by event (SYN, FIN, ACK, RST) and current state.
type Table = [[State; STATES]; 4];

#[rustfmt::skip]
const INBOUND: Table = [
    // NO  ES  SS  SR  FW  TW  CL  CW  LA  LI  SA
    [SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SR], // SYN
    [CL, CW, SS, TW, TW, TW, CL, CW, LA, LI, TW], // FIN
    [CL, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES], // ACK
    [CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, SR], // RST
];

#[rustfmt::skip]
const OUTBOUND: Table = [
    // NO  ES  SS  SR  FW  TW  CL  CW  LA  LI  SA
    [SS, ES, SS, SR, SS, SS, SS, SS, SS, LI, SR], // SYN
    [TW, FW, SS, TW, FW, TW, CL, TW, LA, LI, TW], // FIN
    [ES, ES, SS, ES, FW, TW, CL, CW, LA, ES, ES], // ACK
    [CL, CL, SS, CL, CL, TW, CL, CL, CL, CL, CL], // RST
];

#[rustfmt::skip]
const INBOUND_ONLY: Table = [
    // NO  ES  SS  SR  FW  TW  CL  CW  LA  LI  SA
    [SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SR], // SYN
    [CL, FW, SS, TW, FW, TW, CL, CW, LA, LI, TW], // FIN
    [CL, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES], // ACK
    [CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, CL], // RST
];

impl State {
    /// Every state, in order of its number.
    pub const ALL: [State; STATES] = [NO, ES, SS, SR, FW, TW, CL, CW, LA, LI, SA];

    /// Index into time-outs.
    #[inline]
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }

    /// From its number; a number that is none gives [`State::None`].
    #[inline]
    #[must_use]
    pub fn from_u8(n: u8) -> Self {
        Self::ALL.get(usize::from(n)).copied().unwrap_or_default()
    }

    /// Counts as an active connection of its server.
    #[inline]
    #[must_use]
    pub fn is_active(self) -> bool {
        self == ES
    }

    /// Name in listings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            NO => "TCP_NONE",
            ES => "TCP_EST",
            SS => "SYN_SENT",
            SR => "SYN_RECV",
            FW => "FIN_WAIT",
            TW => "TIME_WAIT",
            CL => "TCP_CLOSE",
            CW => "CLOSE_WAIT",
            LA => "LAST_ACK",
            LI => "LISTEN",
            SA => "SYNACK",
        }
    }
}

#[inline]
fn step(table: &Table, state: State, flags: u8) -> State {
    let event = if flags & RST != 0 {
        3
    } else if flags & SYN != 0 {
        0
    } else if flags & FIN != 0 {
        1
    } else if flags & ACK != 0 {
        2
    } else {
        return CL;
    };
    table[event][state as usize]
}

/// The state after a segment with these flags.
#[inline]
#[must_use]
pub fn next(dir: Dir, state: State, flags: u8) -> State {
    match dir {
        Dir::In => step(&INBOUND, state, flags),
        Dir::Out => step(&OUTBOUND, state, flags),
    }
}

/// The state after a client's segment where the server's are never seen.
#[inline]
#[must_use]
pub fn next_inbound_only(state: State, flags: u8) -> State {
    step(&INBOUND_ONLY, state, flags)
}

/// True for the only segment that may make a connection: SYN without ACK, FIN
/// and RST.
#[inline]
#[must_use]
pub fn is_pure_syn(flags: u8) -> bool {
    flags & (SYN | ACK | FIN | RST) == SYN
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(steps: &[(Dir, u8)]) -> State {
        steps
            .iter()
            .fold(State::None, |s, (dir, flags)| next(*dir, s, *flags))
    }

    const OPEN: [(Dir, u8); 3] = [(Dir::In, SYN), (Dir::Out, SYN | ACK), (Dir::In, ACK)];

    #[test]
    fn handshake() {
        assert_eq!(run(&OPEN[..1]), State::SynRecv);
        assert_eq!(run(&OPEN[..2]), State::SynRecv);
        assert_eq!(run(&OPEN), State::Established);
    }

    #[test]
    fn client_closes_first() {
        let mut steps = OPEN.to_vec();
        steps.push((Dir::In, FIN | ACK));
        assert_eq!(run(&steps), State::CloseWait);
        steps.push((Dir::Out, FIN | ACK));
        assert_eq!(run(&steps), State::TimeWait);
        steps.push((Dir::In, ACK));
        assert_eq!(run(&steps), State::TimeWait);
    }

    #[test]
    fn server_closes_first() {
        let mut steps = OPEN.to_vec();
        steps.push((Dir::Out, FIN | ACK));
        assert_eq!(run(&steps), State::FinWait);
        steps.push((Dir::In, ACK));
        assert_eq!(run(&steps), State::FinWait);
        steps.push((Dir::In, FIN | ACK));
        assert_eq!(run(&steps), State::TimeWait);
    }

    #[test]
    fn resets() {
        // A reset by the client while it waits for the server changes nothing;
        // one by the server closes.
        assert_eq!(next(Dir::In, State::SynRecv, RST), State::SynRecv);
        assert_eq!(next(Dir::Out, State::SynRecv, RST | ACK), State::Close);
        assert_eq!(next(Dir::In, State::Established, RST), State::Close);
        assert_eq!(next(Dir::Out, State::Established, RST), State::Close);
    }

    #[test]
    fn flag_priority() {
        let all = SYN | FIN | ACK;
        assert_eq!(next(Dir::In, State::Established, all | RST), State::Close);
        assert_eq!(next(Dir::In, State::Established, all), State::Established);
        assert_eq!(
            next(Dir::In, State::Established, FIN | ACK),
            State::CloseWait
        );
        for state in State::ALL {
            for flags in [0, dpvs_wire::tcp::PSH, dpvs_wire::tcp::URG] {
                assert_eq!(next(Dir::In, state, flags), State::Close);
                assert_eq!(next(Dir::Out, state, flags), State::Close);
                assert_eq!(next_inbound_only(state, flags), State::Close);
            }
        }
    }

    #[test]
    fn inbound_only() {
        let s = next_inbound_only(State::None, SYN);
        assert_eq!(s, State::SynRecv);
        let s = next_inbound_only(s, ACK);
        assert_eq!(s, State::Established);
        let s = next_inbound_only(s, FIN | ACK);
        assert_eq!(s, State::FinWait);
        assert_eq!(next_inbound_only(s, ACK), State::FinWait);
        assert_eq!(next_inbound_only(State::SynAck, RST), State::Close);
    }

    /// The tables once more, column by column instead of row by row, so that a
    /// slip in one of the two shows.
    #[test]
    fn columns() {
        fn column(table: &Table, state: State) -> String {
            let names = [
                "NO", "ES", "SS", "SR", "FW", "TW", "CL", "CW", "LA", "LI", "SA",
            ];
            table
                .iter()
                .map(|row| names[row[state.index()].index()])
                .collect::<Vec<_>>()
                .join(" ")
        }
        let want = [
            (NO, "SR CL CL CL", "SS TW ES CL", "SR CL CL CL"),
            (ES, "ES CW ES CL", "ES FW ES CL", "ES FW ES CL"),
            (SS, "ES SS SS CL", "SS SS SS SS", "ES SS SS CL"),
            (SR, "SR TW ES SR", "SR TW ES CL", "SR TW ES SR"),
            (FW, "SR TW FW CL", "SS FW FW CL", "SR FW FW CL"),
            (TW, "SR TW TW CL", "SS TW TW TW", "SR TW TW CL"),
            (CL, "SR CL CL CL", "SS CL CL CL", "SR CL CL CL"),
            (CW, "SR CW CW CL", "SS TW CW CL", "SR CW CW CL"),
            (LA, "SR LA CL LA", "SS LA LA CL", "SR LA CL LA"),
            (LI, "SR LI LI LI", "LI LI ES CL", "SR LI LI LI"),
            (SA, "SR TW ES SR", "SR TW ES CL", "SR TW ES CL"),
        ];
        for (state, inbound, outbound, only) in want {
            assert_eq!(column(&INBOUND, state), inbound, "in {state:?}");
            assert_eq!(column(&OUTBOUND, state), outbound, "out {state:?}");
            assert_eq!(column(&INBOUND_ONLY, state), only, "only {state:?}");
        }
    }

    #[test]
    fn numbers_and_names() {
        for (n, state) in State::ALL.into_iter().enumerate() {
            assert_eq!(state.index(), n);
            assert_eq!(State::from_u8(n as u8), state);
            assert_eq!(state.is_active(), state.name() == "TCP_EST");
        }
        assert_eq!(State::from_u8(11), State::None);
        assert_eq!(State::from_u8(255), State::None);
        // The order of the default time-outs is the order of the states.
        let timeouts = crate::snapshot::Timeouts::default().tcp;
        assert_eq!(timeouts[State::Established.index()], 90);
        assert_eq!(timeouts[State::SynRecv.index()], 30);
        assert_eq!(timeouts[State::Listen.index()], 120);
        assert_eq!(timeouts[State::Close.index()], 3);
    }

    #[test]
    fn pure_syn() {
        assert!(is_pure_syn(SYN));
        assert!(is_pure_syn(SYN | dpvs_wire::tcp::ECE | dpvs_wire::tcp::CWR));
        for flag in [ACK, FIN, RST] {
            assert!(!is_pure_syn(SYN | flag));
            assert!(!is_pure_syn(flag));
        }
    }
}
