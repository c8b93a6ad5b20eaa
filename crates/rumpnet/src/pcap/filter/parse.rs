//! From text to a filter.

use super::{
    End, Node, Ports, SyntaxError, Test, Value,
    words::{
        Token, base, ether_type, is_protocol, number, operator, relation, tokens, transport,
        version,
    },
};
use crate::{Cidr, MacAddr, capture::Way, ethernet::EtherType};
use alloc::{boxed::Box, vec::Vec};

/// Parentheses within each other at most, and tests in one expression.
const DEPTH: u32 = 32;
const TESTS: u32 = 256;

type Result<T> = core::result::Result<T, SyntaxError>;

/// Reads an expression; `None` for an empty one.
pub(super) fn expression(text: &str) -> Result<Option<Node>> {
    let mut parser = Parser {
        tokens: tokens(text)?,
        next: 0,
        end: text.len(),
        depth: 0,
        tests: 0,
        last: None,
    };
    if parser.tokens.is_empty() {
        return Ok(None);
    }
    let node = parser.any()?;
    match parser.tokens.get(parser.next) {
        None => Ok(Some(node)),
        Some(_) => Err(parser.error("this is not expected here")),
    }
}

/// What stands in front of a name.
#[derive(Clone, Copy, Default)]
struct Qualifiers<'a> {
    protocol: Option<&'a str>,
    end: Option<End>,
    kind: Option<&'a str>,
}

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    next: usize,
    /// Bytes of the text.
    end: usize,
    depth: u32,
    tests: u32,
    /// Of the part before, for one that has none.
    last: Option<Qualifiers<'a>>,
}

impl<'a> Parser<'a> {
    fn ahead(&self, count: usize) -> &'a str {
        let at = self.next.saturating_add(count);
        self.tokens.get(at).map_or("", |token| token.text)
    }

    fn peek(&self) -> &'a str {
        self.ahead(0)
    }

    fn take(&mut self) -> &'a str {
        let text = self.peek();
        self.next = self.next.saturating_add(1);
        text
    }

    /// Takes the next token if it is one of these.
    fn eat(&mut self, wanted: &[&str]) -> bool {
        let here = wanted.contains(&self.peek());
        if here {
            self.take();
        }
        here
    }

    fn error(&self, what: &'static str) -> SyntaxError {
        let token = self.tokens.get(self.next);
        let at = token.map_or(self.end, |token| token.at);
        SyntaxError { at, what }
    }

    fn require(&mut self, wanted: &'static str, what: &'static str) -> Result<()> {
        if self.eat(&[wanted]) {
            Ok(())
        } else {
            Err(self.error(what))
        }
    }

    /// Goes one level down.
    fn nested<T>(&mut self, part: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth >= DEPTH {
            return Err(self.error("too many parentheses within each other"));
        }
        self.depth = self.depth.saturating_add(1);
        let done = part(self);
        self.depth = self.depth.saturating_sub(1);
        done
    }

    /// Tests that are joined by `and` and `or`.
    fn any(&mut self) -> Result<Node> {
        let mut left = self.one()?;
        loop {
            if self.eat(&["and", "&&"]) {
                left = Node::And(Box::new(left), Box::new(self.one()?));
            } else if self.eat(&["or", "||"]) {
                left = Node::Or(Box::new(left), Box::new(self.one()?));
            } else {
                return Ok(left);
            }
        }
    }

    fn one(&mut self) -> Result<Node> {
        self.tests = self.tests.saturating_add(1);
        if self.tests > TESTS {
            return Err(self.error("too many tests"));
        }
        if self.eat(&["not", "!"]) {
            let node = self.nested(Self::one)?;
            return Ok(Node::Not(Box::new(node)));
        }
        if self.peek() == "(" && !self.is_value() {
            self.take();
            let node = self.nested(Self::any)?;
            self.require(")", "a closing parenthesis is missing")?;
            return Ok(node);
        }
        self.test().map(Node::Test)
    }

    /// Whether what is in the parentheses that begin here is a number: something is calculated or compared with it behind them.
    fn is_value(&self) -> bool {
        let mut depth = 0_u32;
        let rest = self.tokens.iter().skip(self.next);
        let mut behind = rest.skip_while(|token| {
            match token.text {
                "(" => depth = depth.saturating_add(1),
                ")" => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth > 0
        });
        behind.next();
        behind
            .next()
            .is_some_and(|token| operator(token.text).is_some() || relation(token.text).is_some())
    }

    fn test(&mut self) -> Result<Test> {
        let alone = match self.peek() {
            "inbound" => Some(Test::Way(Way::In)),
            "outbound" => Some(Test::Way(Way::Out)),
            "broadcast" => Some(Test::LinkBroadcast),
            "multicast" => Some(Test::LinkGroup),
            _ => None,
        };
        if let Some(test) = alone {
            self.take();
            return Ok(test);
        }
        match self.peek() {
            "" => Err(self.error("something is missing at the end")),
            "less" => {
                self.take();
                self.number().map(Test::Less)
            }
            "greater" => {
                self.take();
                self.number().map(Test::Greater)
            }
            text if self.begins_value(text) => self.comparison(),
            _ => self.qualified(),
        }
    }

    fn begins_value(&self, text: &str) -> bool {
        let behind = self.ahead(1);
        let goes_on = operator(behind).is_some() || relation(behind).is_some();
        matches!(text, "(" | "len") || behind == "[" || goes_on && number(text).is_some()
    }

    fn comparison(&mut self) -> Result<Test> {
        let left = self.value(0)?;
        let Some(relation) = relation(self.peek()) else {
            return Err(self.error("a comparison is expected: = != < <= > >="));
        };
        self.take();
        let right = self.value(0)?;
        Ok(Test::Compare(relation, left, right))
    }

    /// A number that is calculated, of operators that bind at least so strongly.
    fn value(&mut self, least: u8) -> Result<Value> {
        let mut left = self.nested(Self::operand)?;
        while let Some((operator, strength)) = operator(self.peek())
            && strength >= least
        {
            self.take();
            let right = self.nested(|parser| parser.value(strength.saturating_add(1)))?;
            left = Value::Binary(operator, Box::new(left), Box::new(right));
        }
        Ok(left)
    }

    fn operand(&mut self) -> Result<Value> {
        self.tests = self.tests.saturating_add(1);
        if self.tests > TESTS {
            return Err(self.error("too many tests"));
        }
        if self.eat(&["("]) {
            let value = self.value(0)?;
            self.require(")", "a closing parenthesis is missing")?;
            return Ok(value);
        }
        if self.eat(&["len"]) {
            return Ok(Value::Len);
        }
        if self.ahead(1) != "[" {
            return self.number().map(Value::Number);
        }
        let Some(base) = base(self.peek()) else {
            return Err(self.error("no bytes of this can be looked at"));
        };
        self.take();
        self.take();
        let at = self.value(0)?;
        let size = match self.eat(&[":"]) {
            false => 1,
            true => match self.peek() {
                "1" => 1,
                "2" => 2,
                "4" => 4,
                _ => return Err(self.error("1, 2 or 4 bytes can be looked at")),
            },
        };
        if self.peek() != "]" {
            self.take();
        }
        self.require("]", "a closing bracket is missing")?;
        Ok(Value::Load(base, Box::new(at), size))
    }

    fn number(&mut self) -> Result<u32> {
        let number = number(self.peek()).ok_or_else(|| self.error("a number is expected"))?;
        self.take();
        Ok(number)
    }

    /// A name with what stands in front of it.
    fn qualified(&mut self) -> Result<Test> {
        let begin = self.next;
        let mut given = Qualifiers::default();
        if is_protocol(self.peek()) {
            given.protocol = Some(self.take());
            if let Some(test) = self.cast(given.protocol)? {
                return Ok(test);
            }
        }
        given.end = self.direction();
        if matches!(self.peek(), "host" | "net" | "port" | "portrange" | "proto") {
            given.kind = Some(self.take());
        }
        if self.next == begin {
            let known = self.last.filter(|_| self.is_name());
            given = known.ok_or_else(|| self.error("no test begins like this"))?;
        } else if given.end.is_none() && given.kind.is_none() && !self.is_name() {
            return self.alone(given.protocol.unwrap_or_default());
        }
        self.last = Some(given);
        self.named(given)
    }

    fn is_name(&self) -> bool {
        self.peek()
            .starts_with(|c: char| c.is_ascii_hexdigit() || c == ':')
            && !matches!(self.peek(), "and" | "arp" | "broadcast")
    }

    fn direction(&mut self) -> Option<End> {
        let (first, joint, second) = (self.peek(), self.ahead(1), self.ahead(2));
        let (end, count) = match (first, joint, second) {
            ("src", "or", "dst") | ("dst", "or", "src") => (End::Either, 3),
            ("src", "and", "dst") | ("dst", "and", "src") => (End::Both, 3),
            ("src", ..) => (End::From, 1),
            ("dst", ..) => (End::To, 1),
            _ => return None,
        };
        self.next = self.next.saturating_add(count);
        Some(end)
    }

    /// To whom something goes.
    fn cast(&mut self, protocol: Option<&str>) -> Result<Option<Test>> {
        let test = match (protocol, self.peek()) {
            (Some("ether"), "broadcast") => Test::LinkBroadcast,
            (Some("ether"), "multicast") => Test::LinkGroup,
            (Some("ip"), "multicast") => Test::Group(EtherType::IPV4),
            (Some("ip6"), "multicast") => Test::Group(EtherType::IPV6),
            (_, "broadcast" | "multicast") => {
                return Err(self.error("this is not known of this protocol"));
            }
            _ => return Ok(None),
        };
        self.take();
        Ok(Some(test))
    }

    /// A protocol alone.
    fn alone(&self, protocol: &str) -> Result<Test> {
        if let Some(kind) = ether_type(protocol) {
            return Ok(Test::Type(kind));
        }
        let number = transport(protocol).ok_or_else(|| self.error("an address is expected"))?;
        Ok(Test::Protocol(version(number), number))
    }

    fn named(&mut self, given: Qualifiers<'a>) -> Result<Test> {
        let end = given.end.unwrap_or_default();
        match (given.kind.unwrap_or("host"), given.protocol) {
            ("host", Some("ether")) => {
                let mac: Option<MacAddr> = self.peek().parse().ok();
                let mac = mac.ok_or_else(|| self.error("an address of Ethernet is expected"))?;
                self.take();
                Ok(Test::Link(mac, end))
            }
            ("proto", Some("ether")) => {
                let kind = ether_type(self.peek()).map(Ok).unwrap_or_else(|| {
                    let number = number(self.peek()).and_then(|number| u16::try_from(number).ok());
                    let number = number.ok_or_else(|| self.error("a type of Ethernet is a number"));
                    number.map(EtherType)
                })?;
                self.take();
                Ok(Test::Type(kind))
            }
            ("proto", None | Some("ip" | "ip6")) => {
                let given = given.protocol.and_then(ether_type);
                let name = self.peek();
                let number = transport(name).or_else(|| number(name)?.try_into().ok());
                let number = number.ok_or_else(|| self.error("a protocol is a number"))?;
                self.take();
                Ok(Test::Protocol(given, number))
            }
            (kind @ ("host" | "net"), None | Some("ip" | "ip6" | "arp")) => {
                self.network(kind, given.protocol, end)
            }
            (kind @ ("port" | "portrange"), None | Some("tcp" | "udp")) => {
                let ports = self.ports(kind == "portrange")?;
                Ok(Test::Port(given.protocol.and_then(transport), ports, end))
            }
            _ => Err(self.error("this is not known of this protocol")),
        }
    }

    fn network(&mut self, kind: &str, protocol: Option<&str>, end: End) -> Result<Test> {
        let text = self.peek();
        let parsed: Option<Cidr> = text.parse().ok();
        let network = parsed.filter(|_| kind == "net" || !text.contains('/'));
        let network = network.ok_or_else(|| self.error("an address is expected"))?;
        if network.network() != network {
            return Err(self.error("a network has no bits behind its prefix"));
        }
        let wanted = protocol.and_then(ether_type);
        let v6 = wanted.map(|kind| kind == EtherType::IPV6);
        if v6.is_some_and(|v6| v6 == network.address().is_ipv4()) {
            return Err(self.error("the address is of another protocol"));
        }
        self.take();
        Ok(Test::Network(wanted, network, end))
    }

    fn ports(&mut self, range: bool) -> Result<Ports> {
        let first = self.port()?;
        if !range {
            return Ok(first..=first);
        }
        self.require("-", "a range of ports is N-M")?;
        let last = self.port()?;
        Ok(first.min(last)..=first.max(last))
    }

    fn port(&mut self) -> Result<u16> {
        let port = self.peek().parse();
        let port = port.map_err(|_| self.error("a port is a number"))?;
        self.take();
        Ok(port)
    }
}

#[cfg(test)]
mod tests {
    use super::expression;
    use alloc::{format, string::String};
    use proptest::prelude::*;

    fn says(text: &str) -> String {
        expression(text).map_or_else(|error| format!("{error}"), |_| String::from("good"))
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, said) in [
            ("", "good"),
            ("tcp", "good"),
            ("port http", "at 5: a port is a number"),
            ("port 65536", "at 5: a port is a number"),
            ("port", "at 4: a port is a number"),
            ("tcp and", "at 7: something is missing at the end"),
            ("(tcp", "at 4: a closing parenthesis is missing"),
            ("tcp)", "at 3: this is not expected here"),
            ("tcp udp", "at 4: this is not expected here"),
            ("host example.org", "at 5: an address is expected"),
            (
                "net 10.0.0.1/8",
                "at 4: a network has no bits behind its prefix",
            ),
            ("host 10.0.0.0/8", "at 5: an address is expected"),
            (
                "ip6 host 10.0.0.1",
                "at 9: the address is of another protocol",
            ),
            (
                "udp host 10.0.0.1",
                "at 9: this is not known of this protocol",
            ),
            ("ip broadcast", "at 3: this is not known of this protocol"),
            ("tcp[0:3] = 1", "at 6: 1, 2 or 4 bytes can be looked at"),
            ("tcp[0] 1", "at 7: a comparison is expected: = != < <= > >="),
            ("tcp[0", "at 5: a closing bracket is missing"),
            ("vlan 4", "at 0: no test begins like this"),
            ("10.0.0.1", "at 0: no test begins like this"),
            ("tcp $", "at 4: no expression has this sign"),
            ("portrange 4", "at 11: a range of ports is N-M"),
        ] {
            assert_eq!(says(text), said, "{text}");
        }
        assert!(says(&"(".repeat(100)).contains("too many parentheses"));
        assert!(says(&"!".repeat(100)).contains("too many parentheses"));
        assert!(says(&format!("1{} = 1", "+1".repeat(5_000))).contains("too many"));
    }

    proptest! {
        #[test]
        fn anything(text in "(tcp|host|net|port| |and|or|not|src|[0-9]{1,3}|\\.|/|:|\\(|\\)|\\[|\\]|=|&|len|é|-){0,20}") {
            let _ = expression(&text);
        }
    }
}
