//! Addresses of pages (RFC 3986), as far as there is no TLS.

/// Where a page is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url {
    pub(super) host: String,
    pub(super) port: u16,
    /// With what is asked for.
    pub(super) path: String,
}

impl Url {
    /// Reads what a user or a redirect names.
    ///
    /// # Errors
    /// In words, what is not understood.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let rest = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some((scheme, _)) => {
                return Err(format!("{scheme}: only http is spoken here, without TLS"));
            }
            None => text,
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (place, path) = rest.split_at(at);
        let bad = |what: &str| Err(format!("{what} in an address is not understood"));
        if place.contains('@') {
            return bad("a user");
        }
        if path.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
            return bad("a space");
        }
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => match port.parse() {
                Ok(port) => (host, port),
                Err(_) => return bad("the port"),
            },
            _ => (place, 80),
        };
        if host.is_empty() {
            return bad("no host");
        }
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(Self {
            host: host.into(),
            port,
            path: format!("{slash}{path}"),
        })
    }

    /// Where a redirect leads.
    pub(super) fn join(&self, to: &str) -> Result<Self, String> {
        if to.contains("://") {
            return Self::parse(to);
        }
        if let Some(rest) = to.strip_prefix("//") {
            return Self::parse(rest);
        }
        let path = if to.starts_with('/') {
            to.to_owned()
        } else {
            let here = self.path.split('?').next().unwrap_or_default();
            let dir = here.rfind('/').map_or("", |at| &here[..at]);
            format!("{dir}/{to}")
        };
        Self::parse(&format!("http://{}{path}", self.place()))
    }

    /// The host, and the port if that is not HTTP's own.
    pub(super) fn place(&self) -> String {
        match self.port {
            80 => self.host.clone(),
            port => format!("{}:{port}", self.host),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let url = |text: &str| Url::parse(text).map(|url| (url.host, url.port, url.path));
        let is = |host: &str, port, path: &str| Ok((host.into(), port, path.into()));
        assert_eq!(url("http://a.org"), is("a.org", 80, "/"));
        assert_eq!(url("a.org:8080/x?y#z"), is("a.org", 8_080, "/x?y"));
        assert_eq!(url("http://[::1]/"), is("[::1]", 80, "/"));
        assert_eq!(url("http://[::1]:81?q"), is("[::1]", 81, "/?q"));
        for bad in [
            "https://a.org/",
            "ftp://a/",
            "http://",
            "http://a:x/",
            "http://u@a/",
            "http://a/b c",
        ] {
            assert!(Url::parse(bad).is_err(), "{bad}");
        }
        let here = Url::parse("http://a.org:81/d/e?f").unwrap();
        let join = |to: &str| here.join(to).map(|url| (url.place(), url.path));
        assert_eq!(join("g"), Ok(("a.org:81".into(), "/d/g".into())));
        assert_eq!(join("/g"), Ok(("a.org:81".into(), "/g".into())));
        assert_eq!(join("http://b.org/h"), Ok(("b.org".into(), "/h".into())));
        assert!(join("https://b.org/h").is_err());
    }
}
