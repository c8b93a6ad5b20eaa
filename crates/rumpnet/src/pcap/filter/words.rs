//! Words and signs of an expression, and what they stand for.

use super::{Base, Operator, Relation, SyntaxError};
use crate::ethernet::EtherType;
use alloc::vec::Vec;

/// Names of protocols above IP, with their numbers.
const PROTOCOLS: [(&str, u8); 5] = [
    ("icmp", 1),
    ("igmp", 2),
    ("tcp", 6),
    ("udp", 17),
    ("icmp6", 58),
];

/// Names of places and bits.
const NUMBERS: [(&str, u32); 22] = [
    ("icmptype", 0),
    ("icmpcode", 1),
    ("icmp6type", 0),
    ("icmp6code", 1),
    ("tcpflags", 13),
    ("tcp-fin", 1),
    ("tcp-syn", 2),
    ("tcp-rst", 4),
    ("tcp-push", 8),
    ("tcp-ack", 16),
    ("tcp-urg", 32),
    ("tcp-ece", 64),
    ("tcp-cwr", 128),
    ("icmp-echoreply", 0),
    ("icmp-unreach", 3),
    ("icmp-redirect", 5),
    ("icmp-echo", 8),
    ("icmp-timxceed", 11),
    ("icmp6-destinationrunreach", 1),
    ("icmp6-packettoobig", 2),
    ("icmp6-echo", 128),
    ("icmp6-echoreply", 129),
];

const OPERATORS: [&str; 21] = [
    "&&", "||", "<<", ">>", "<=", ">=", "==", "!=", "!", "(", ")", "[", "]", ":", "&", "|", "^",
    "<", ">", "=", "+",
];
const MORE_OPERATORS: [&str; 4] = ["-", "*", "/", "%"];

#[derive(Clone, Copy)]
pub(super) struct Token<'a> {
    pub(super) at: usize,
    pub(super) text: &'a str,
}

/// Cuts a text: words, with the colons and the slash of an address but not those of a place in a header, and operators.
pub(super) fn tokens(text: &str) -> Result<Vec<Token<'_>>, SyntaxError> {
    let mut tokens = Vec::new();
    let (mut at, mut brackets) = (0_usize, false);
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let word = word(rest, brackets);
        let mut all = OPERATORS.iter().chain(&MORE_OPERATORS);
        let len = if word > 0 {
            word
        } else if rest.starts_with(|c: char| c.is_ascii_whitespace() || c == '\\') {
            at = at.saturating_add(1);
            continue;
        } else if let Some(operator) = all.find(|operator| rest.starts_with(**operator)) {
            brackets = (brackets || *operator == "[") && *operator != "]";
            operator.len()
        } else {
            let what = "no expression has this sign";
            return Err(SyntaxError { at, what });
        };
        let text = rest.get(..len).unwrap_or_default();
        tokens.push(Token { at, text });
        at = at.saturating_add(len);
    }
    Ok(tokens)
}

/// The length of the word that a text begins with.
fn word(text: &str, brackets: bool) -> usize {
    let first = text.bytes().next().unwrap_or(0);
    let mut address = false;
    let ends = |(_, byte): &(usize, u8)| {
        address |= matches!(byte, b'.' | b':') && !brackets;
        let goes_on = match byte {
            b':' => !brackets,
            b'/' => address,
            b'-' => first.is_ascii_alphabetic(),
            b'.' | b'_' => true,
            byte => byte.is_ascii_alphanumeric(),
        };
        !goes_on
    };
    if !first.is_ascii_alphanumeric() && !text.starts_with("::") {
        return 0;
    }
    let end = text.bytes().enumerate().find(ends);
    end.map_or(text.len(), |(at, _)| at)
}

pub(super) fn is_protocol(text: &str) -> bool {
    text == "ether" || ether_type(text).is_some() || transport(text).is_some()
}

pub(super) fn ether_type(text: &str) -> Option<EtherType> {
    match text {
        "ip" => Some(EtherType::IPV4),
        "ip6" => Some(EtherType::IPV6),
        "arp" => Some(EtherType::ARP),
        _ => None,
    }
}

pub(super) fn transport(text: &str) -> Option<u8> {
    let mut all = PROTOCOLS.iter();
    all.find(|(name, _)| *name == text)
        .map(|(_, number)| *number)
}

/// Protocols that only one version of IP carries.
pub(super) const fn version(protocol: u8) -> Option<EtherType> {
    match protocol {
        1 | 2 => Some(EtherType::IPV4),
        58 => Some(EtherType::IPV6),
        _ => None,
    }
}

pub(super) fn base(text: &str) -> Option<Base> {
    match text {
        "ether" => Some(Base::Link),
        _ => ether_type(text)
            .map(Base::Network)
            .or_else(|| transport(text).map(Base::Transport)),
    }
}

pub(super) fn number(text: &str) -> Option<u32> {
    let mut names = NUMBERS.iter();
    if let Some((_, number)) = names.find(|(name, _)| *name == text) {
        return Some(*number);
    }
    if !text.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    match text.get(..2) {
        Some("0x" | "0X") => u32::from_str_radix(text.get(2..)?, 16).ok(),
        _ => text.parse().ok(),
    }
}

pub(super) fn relation(text: &str) -> Option<Relation> {
    match text {
        "=" | "==" => Some(Relation::Equal),
        "!=" => Some(Relation::Unequal),
        "<" => Some(Relation::Less),
        "<=" => Some(Relation::AtMost),
        ">" => Some(Relation::More),
        ">=" => Some(Relation::AtLeast),
        _ => None,
    }
}

/// An operator, and how strongly it binds.
pub(super) fn operator(text: &str) -> Option<(Operator, u8)> {
    match text {
        "|" => Some((Operator::Or, 0)),
        "^" => Some((Operator::Xor, 0)),
        "&" => Some((Operator::And, 0)),
        "<<" => Some((Operator::Left, 1)),
        ">>" => Some((Operator::Right, 1)),
        "+" => Some((Operator::Add, 2)),
        "-" => Some((Operator::Sub, 2)),
        "*" => Some((Operator::Mul, 3)),
        "/" => Some((Operator::Div, 3)),
        "%" => Some((Operator::Rem, 3)),
        _ => None,
    }
}
