//! SCTP associations as a middlebox sees them, in DPVS's tables (facts §8.3).
//!
//! The first chunk of a packet counts, and an ABORT that follows a COOKIE-ECHO or
//! COOKIE-ACK. Reads chunk headers and nothing else of a packet.

use super::Dir;

/// State of an association.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// Just made.
    #[default]
    None = 0,
    /// The client's INIT was seen.
    Init1,
    /// INIT was seen again.
    Init,
    /// The server has sent its cookie.
    CookieSent,
    /// The client has returned it.
    CookieReplied,
    /// The server opens.
    CookieWait,
    /// The client has sent its cookie to a server that opens.
    Cookie,
    /// The server has returned it.
    CookieEchoed,
    /// Established: the only one that counts as active.
    Established,
    /// The server shuts down.
    ShutdownSent,
    /// The client shuts down.
    ShutdownReceived,
    /// The server has acknowledged.
    ShutdownAckSent,
    /// Refused.
    Rejected,
    /// Over.
    Closed,
}

use State::{
    Closed as CL, Cookie as CO, CookieEchoed as CE, CookieReplied as CR, CookieSent as CS,
    CookieWait as CW, Established as ES, Init as IN, Init1 as I1, None as NO, Rejected as RJ,
    ShutdownAckSent as SA, ShutdownReceived as SR, ShutdownSent as SS,
};

/// Number of states.
pub const STATES: usize = 14;

/// What a packet says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Event {
    /// Data, heartbeats, everything else.
    Data = 0,
    /// INIT.
    Init,
    /// INIT-ACK.
    InitAck,
    /// COOKIE-ECHO.
    CookieEcho,
    /// COOKIE-ACK.
    CookieAck,
    /// SHUTDOWN.
    Shutdown,
    /// SHUTDOWN-ACK.
    ShutdownAck,
    /// SHUTDOWN-COMPLETE.
    ShutdownComplete,
    /// ERROR.
    Error,
    /// ABORT.
    Abort,
}

type Table = [[State; STATES]; 10];

#[rustfmt::skip]
const INBOUND: Table = [
    // NO  I1  IN  CS  CR  CW  CO  CE  ES  SS  SR  SA  RJ  CL
    [ES, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL], // data
    [I1, IN, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, IN, IN], // INIT
    [CW, CW, CW, CS, CR, CO, CO, CE, ES, SS, SR, SA, RJ, CL], // INIT-ACK
    [CR, IN, IN, CR, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL], // COOKIE-ECHO
    [ES, I1, IN, CS, CR, CW, CO, ES, ES, SS, SR, SA, RJ, CL], // COOKIE-ACK
    [SR, I1, IN, CS, CR, CW, CO, CE, SR, SS, SR, SA, RJ, CL], // SHUTDOWN
    [CL, IN, IN, CS, CR, CW, CO, CE, ES, CL, SR, CL, RJ, CL], // SHUTDOWN-ACK
    [CL, CL, CL, CS, CR, CW, CO, CE, ES, SS, SR, CL, RJ, CL], // SHUTDOWN-COMPLETE
    [CL, I1, IN, CS, CR, CW, CO, CL, ES, SS, SR, SA, RJ, CL], // ERROR
    [CL, CL, CL, CL, CL, RJ, CL, CL, CL, CL, CL, CL, CL, CL], // ABORT
];

#[rustfmt::skip]
const OUTBOUND: Table = [
    // NO  I1  IN  CS  CR  CW  CO  CE  ES  SS  SR  SA  RJ  CL
    [ES, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL], // data
    [CW, CW, CW, CW, CW, CW, CW, CW, ES, CW, CW, CW, CW, CW], // INIT
    [CS, CS, CS, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL], // INIT-ACK
    [CE, CE, CE, CE, CE, CE, CE, CE, ES, SS, SR, SA, RJ, CL], // COOKIE-ECHO
    [ES, ES, ES, ES, ES, ES, ES, ES, ES, SS, SR, SA, RJ, CL], // COOKIE-ACK
    [SS, SS, SS, SS, SS, SS, SS, SS, SS, SS, SR, SA, RJ, CL], // SHUTDOWN
    [SA, SA, SA, SA, SA, CW, CO, CE, ES, SA, SA, SA, RJ, CL], // SHUTDOWN-ACK
    [CL, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL], // SHUTDOWN-COMPLETE
    [CL, CL, CL, CL, CL, CW, CO, CE, ES, SS, SR, SA, RJ, CL], // ERROR
    [CL, RJ, CL, CL, CL, CL, CL, CL, CL, CL, CL, CL, CL, CL], // ABORT
];

impl State {
    /// Every state, in order of its number.
    pub const ALL: [State; STATES] = [NO, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL];

    /// From its number; a number that is none gives [`State::None`].
    #[must_use]
    pub fn from_u8(n: u8) -> Self {
        Self::ALL.get(usize::from(n)).copied().unwrap_or_default()
    }

    /// Time-out in seconds; dpvs.conf has no keyword for it.
    #[must_use]
    pub fn timeout(self) -> u32 {
        match self {
            NO => 2,
            I1 | RJ => 4,
            ES => 900,
            _ => 61,
        }
    }

    /// Counts as an active connection of its server.
    #[must_use]
    pub fn is_active(self) -> bool {
        self == ES
    }

    /// Name in listings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            NO => "SCTP_NONE",
            I1 => "SCTP_INIT1",
            IN => "SCTP_INIT",
            CS => "SCTP_COOKIE_SENT",
            CR => "SCTP_COOKIE_REPLIED",
            CW => "SCTP_COOKIE_WAIT",
            CO => "SCTP_COOKIE",
            CE => "SCTP_COOKIE_ECHOED",
            ES => "SCTP_ESTABLISHED",
            SS => "SCTP_SHUTDOWN_SENT",
            SR => "SCTP_SHUTDOWN_RECEIVED",
            SA => "SCTP_SHUTDOWN_ACK_SENT",
            RJ => "SCTP_REJECTED",
            CL => "SCTP_CLOSED",
        }
    }
}

fn chunk_event(typ: u8) -> Event {
    match typ {
        1 => Event::Init,
        2 => Event::InitAck,
        6 => Event::Abort,
        7 => Event::Shutdown,
        8 => Event::ShutdownAck,
        9 => Event::Error,
        10 => Event::CookieEcho,
        11 => Event::CookieAck,
        14 => Event::ShutdownComplete,
        _ => Event::Data,
    }
}

/// What a packet says; `chunks` is what follows the header of 12 bytes. `None`
/// without a chunk.
#[must_use]
pub fn event(chunks: &[u8]) -> Option<Event> {
    let [typ, _, len @ ..] = chunks.first_chunk::<4>()?;
    let first = chunk_event(*typ);
    if matches!(first, Event::CookieEcho | Event::CookieAck) {
        let next = usize::from(u16::from_be_bytes(*len)).next_multiple_of(4);
        if next >= 4
            && chunks
                .get(next)
                .is_some_and(|t| chunk_event(*t) == Event::Abort)
        {
            return Some(Event::Abort);
        }
    }
    Some(first)
}

/// The state after a packet.
#[must_use]
pub fn next(dir: Dir, state: State, event: Event) -> State {
    let table = match dir {
        Dir::In => &INBOUND,
        Dir::Out => &OUTBOUND,
    };
    table[event as usize][state as usize]
}

/// The state after a client's packet where the server's are never seen.
///
/// DIFFERS: DPVS uses the table for both directions, in which such an association
/// never gets past its INIT; here the client's own steps move it on.
#[must_use]
pub fn next_inbound_only(state: State, event: Event) -> State {
    match (event, state) {
        (Event::CookieEcho, NO | I1 | IN | CR) => ES,
        (Event::Data, NO | I1 | IN) => ES,
        (Event::Shutdown, ES) => SR,
        (Event::ShutdownAck, _) => CL,
        (Event::ShutdownComplete, SR | SS) => CL,
        _ => next(Dir::In, state, event),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(steps: &[(Dir, Event)]) -> State {
        steps.iter().fold(NO, |s, (dir, e)| next(*dir, s, *e))
    }

    const OPEN: [(Dir, Event); 4] = [
        (Dir::In, Event::Init),
        (Dir::Out, Event::InitAck),
        (Dir::In, Event::CookieEcho),
        (Dir::Out, Event::CookieAck),
    ];

    #[test]
    fn opens_and_shuts_down() {
        assert_eq!(run(&OPEN[..1]), I1);
        assert_eq!(run(&OPEN[..2]), CS);
        assert_eq!(run(&OPEN[..3]), CR);
        assert_eq!(run(&OPEN), ES);
        let mut steps = OPEN.to_vec();
        steps.extend([(Dir::In, Event::Data), (Dir::Out, Event::Data)]);
        assert_eq!(run(&steps), ES);
        steps.push((Dir::In, Event::Shutdown));
        assert_eq!(run(&steps), SR);
        steps.push((Dir::Out, Event::ShutdownAck));
        assert_eq!(run(&steps), SA);
        steps.push((Dir::In, Event::ShutdownComplete));
        assert_eq!(run(&steps), CL);
    }

    #[test]
    fn aborts() {
        for state in State::ALL {
            for dir in [Dir::In, Dir::Out] {
                let after = next(dir, state, Event::Abort);
                assert!(matches!(after, CL | RJ), "{state:?}");
            }
        }
    }

    #[test]
    fn one_direction_only() {
        let mut s = NO;
        for (event, want) in [
            (Event::Init, I1),
            (Event::CookieEcho, ES),
            (Event::Data, ES),
            (Event::Shutdown, SR),
            (Event::ShutdownComplete, CL),
        ] {
            s = next_inbound_only(s, event);
            assert_eq!(s, want, "{event:?}");
        }
    }

    #[test]
    fn chunks() {
        assert_eq!(event(&[1, 0, 0, 20, 0]), Some(Event::Init));
        assert_eq!(event(&[0, 3, 0, 20]), Some(Event::Data));
        assert_eq!(event(&[0xc1, 0, 0, 8]), Some(Event::Data));
        assert_eq!(event(&[1, 0, 0]), None);
        // COOKIE-ECHO of five bytes, padded, with an ABORT behind it.
        let mut bundle = vec![10, 0, 0, 5, 9, 0, 0, 0, 6, 0, 0, 4];
        assert_eq!(event(&bundle), Some(Event::Abort));
        bundle[8] = 0;
        assert_eq!(event(&bundle), Some(Event::CookieEcho));
        // A length that leads nowhere.
        assert_eq!(event(&[10, 0, 0, 0]), Some(Event::CookieEcho));
        assert_eq!(event(&[10, 0, 0xff, 0xff]), Some(Event::CookieEcho));
    }

    #[test]
    fn numbers_and_time_outs() {
        for (n, state) in State::ALL.into_iter().enumerate() {
            assert_eq!((state as usize, State::from_u8(n as u8)), (n, state));
        }
        assert_eq!(State::from_u8(14), NO);
        assert_eq!(ES.timeout(), 900);
        assert_eq!(CL.timeout(), 61);
    }
}
