//! The national clouds and the addresses of a connection.
//!
//! Used by whoever configures a [`Graph`](crate::Graph). Rule kept: the scope
//! follows the cloud, also where a single address is overridden.
//! Hosts: <https://learn.microsoft.com/en-us/graph/deployments>.

use url::Url;

/// One of Microsoft's clouds; tokens of one are worth nothing in another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Cloud {
    /// The worldwide service, GCC included.
    #[default]
    Global,
    /// US Government L4 (GCC High).
    UsGov,
    /// US Government L5 (DoD).
    Dod,
    /// China, operated by 21Vianet.
    China,
}

/// The word is not the name of a cloud.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a cloud; write global, usgov, dod or china")]
pub struct UnknownCloud(String);

impl Cloud {
    /// The word for this cloud in configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::UsGov => "usgov",
            Self::Dod => "dod",
            Self::China => "china",
        }
    }

    const fn graph(self) -> &'static str {
        match self {
            Self::Global => "https://graph.microsoft.com",
            Self::UsGov => "https://graph.microsoft.us",
            Self::Dod => "https://dod-graph.microsoft.us",
            Self::China => "https://microsoftgraph.chinacloudapi.cn",
        }
    }

    /// The sign-in host of this cloud, under which each tenant has its token endpoint.
    pub const fn login(self) -> &'static str {
        match self {
            Self::Global => "https://login.microsoftonline.com",
            Self::UsGov | Self::Dod => "https://login.microsoftonline.us",
            Self::China => "https://login.partner.microsoftonline.cn",
        }
    }
}

impl std::str::FromStr for Cloud {
    type Err = UnknownCloud;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        [Self::Global, Self::UsGov, Self::Dod, Self::China]
            .into_iter()
            .find(|cloud| cloud.as_str() == word)
            .ok_or_else(|| UnknownCloud(word.to_owned()))
    }
}

/// Where tokens and mails come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// The tenant's token endpoint.
    pub token: Url,
    /// The root of Graph, without a version.
    pub graph: Url,
    /// What a token is asked for.
    pub scope: String,
}

impl Endpoints {
    /// The endpoints in a cloud; `graph` in place of the cloud's own address.
    pub fn new(cloud: Cloud, token: Url, graph: Option<Url>) -> Self {
        let own = || Url::parse(cloud.graph()).expect("the addresses of the clouds are valid");
        Self { token, graph: graph.unwrap_or_else(own), scope: format!("{}/.default", cloud.graph()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scope_follows_the_cloud_even_when_graph_is_elsewhere() {
        let token: Url = "https://login.microsoftonline.us/t/oauth2/v2.0/token".parse().unwrap();
        let plain = Endpoints::new(Cloud::Dod, token.clone(), None);
        assert_eq!(plain.graph.as_str(), "https://dod-graph.microsoft.us/");
        assert_eq!(plain.scope, "https://dod-graph.microsoft.us/.default");
        let elsewhere = Endpoints::new(Cloud::Global, token, "http://127.0.0.1:8080".parse().ok());
        assert_eq!(elsewhere.graph.as_str(), "http://127.0.0.1:8080/");
        assert_eq!(elsewhere.scope, "https://graph.microsoft.com/.default");
    }

    #[test]
    fn every_cloud_is_found_by_its_word() {
        for cloud in [Cloud::Global, Cloud::UsGov, Cloud::Dod, Cloud::China] {
            assert_eq!(cloud.as_str().parse(), Ok(cloud));
        }
        assert!("moon".parse::<Cloud>().unwrap_err().to_string().contains("usgov"));
    }
}
