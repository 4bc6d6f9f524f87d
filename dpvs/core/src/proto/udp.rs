//! UDP states: has the server ever answered.

use super::Dir;

/// State of a flow. The numbers index the time-outs
/// ([`crate::snapshot::Timeouts::udp`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// Just made.
    #[default]
    None = 0,
    /// Packets of the client only.
    OneWay,
    /// The server has answered. Stays.
    Normal,
}

impl State {
    /// Every state, in order of its number.
    pub const ALL: [State; 3] = [Self::None, Self::OneWay, Self::Normal];

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

    /// Name in listings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "UDP_NONE",
            Self::OneWay => "UDP_ONEWAY",
            Self::Normal => "UDP_NORM",
        }
    }
}

/// The state after a packet.
#[inline]
#[must_use]
pub fn next(dir: Dir, state: State) -> State {
    match (dir, state) {
        (Dir::Out, _) | (_, State::Normal) => State::Normal,
        (Dir::In, _) => State::OneWay,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answered_once_is_answered_for_good() {
        assert_eq!(next(Dir::In, State::None), State::OneWay);
        assert_eq!(next(Dir::In, State::OneWay), State::OneWay);
        for state in State::ALL {
            assert_eq!(next(Dir::Out, state), State::Normal);
        }
        assert_eq!(next(Dir::In, State::Normal), State::Normal);
    }

    #[test]
    fn numbers() {
        for (n, state) in State::ALL.into_iter().enumerate() {
            assert_eq!((state.index(), State::from_u8(n as u8)), (n, state));
        }
        assert_eq!(State::from_u8(3), State::None);
        assert_eq!(State::Normal.name(), "UDP_NORM");
    }
}
