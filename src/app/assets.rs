//! Creatives' files: the store, who takes them in and who serves them.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;

use super::Base;
use super::decision::public_url;
use crate::assets::{AssetStore, StoreSettings, UrlSigner};
use crate::config::{Config, SharedRoles};
use crate::http::assets::{AssetsApi, FilesApi};
use crate::roles::campaign::CampaignHandle;

/// Signs the URLs of files, for whoever serves them. The key is made of a secret that all servers of a network share.
pub(super) fn signer(base: &Base<'_>, address: SocketAddr) -> UrlSigner {
    let public_url = base.config.assets.public_url.clone().unwrap_or_else(|| public_url(base.config, address));
    UrlSigner::new(&base.identity.api_key_secret.0, public_url)
}

/// The files that this server keeps.
pub(super) struct Files {
    pub(super) store: AssetStore,
    signer: UrlSigner,
}

impl Files {
    /// Opens their folder.
    pub(super) fn open(base: &Base<'_>, address: SocketAddr) -> anyhow::Result<Self> {
        let settings = StoreSettings { dir: folder(base.config), limits: base.config.assets.limits.clone() };
        let store = AssetStore::open(settings, base.clock.clone(), base.entropy.clone());
        Ok(Self { store: store.context("opening the store of creatives' files")?, signer: signer(base, address) })
    }

    /// Those of one of many servers: where a folder is named, for the roles that use it.
    pub(super) fn of_roles(base: &Base<'_>, roles: SharedRoles, address: SocketAddr) -> anyhow::Result<Option<Self>> {
        let is_used = base.config.assets.dir.is_some() && (roles.campaign || roles.assets);
        is_used.then(|| Self::open(base, address)).transpose()
    }

    /// Who serves them, where that is a role of this server.
    pub(super) fn served(&self, base: &Base<'_>, roles: SharedRoles) -> Option<FilesApi> {
        roles.assets.then(|| self.serving(base))
    }

    /// Who serves them.
    pub(super) fn serving(&self, base: &Base<'_>) -> FilesApi {
        FilesApi::new(self.store.clone(), self.signer.clone(), base.clock.clone(), base.metrics.clone())
    }

    /// Who takes them in.
    pub(super) fn taking(&self, base: &Base<'_>, campaigns: &CampaignHandle) -> AssetsApi {
        let (store, signer) = (self.store.clone(), self.signer.clone());
        AssetsApi::new(store, signer, campaigns.clone(), base.clock.clone(), base.metrics.clone())
    }
}

fn folder(config: &Config) -> PathBuf {
    config.assets.dir.clone().unwrap_or_else(|| config.data_dir.join("assets"))
}
