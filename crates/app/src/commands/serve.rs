//! `postroom serve`: the server, until it is told to end.

use std::process::ExitCode;

use postroom_web::Web;

use crate::{
    alerts,
    config::Config,
    effects,
    server::{self, Tls},
    system,
};

/// Runs the server.
///
/// # Errors
/// When something it needs is not there, in one line.
pub async fn run(config: Config) -> anyhow::Result<ExitCode> {
    let _sole_server = system::lock(&config)?;
    let tls = match (&config.server.tls_cert, &config.server.tls_key) {
        (Some(cert), Some(key)) => Some(Tls::load(cert, key)?),
        _ => None,
    };
    let listener = server::bind(config.server.listen).await?;
    let store = system::open_store(&config, &effects::system_entropy()).await?;
    let url = config.server.public_url.clone();
    let around = system::Around {
        certificate_ends: tls.as_ref().map(Tls::ends),
        tell_alert: alerts::webhook(&config.alerts)?,
        alert_mail: alerts::mail(&config.alerts)?,
        ..system::Around::network(&config)?
    };
    let (engine, tasks) = system::engine(store, around);

    let ended = server::ended();
    let router = postroom_web::router(Web {
        engine: engine.clone(),
        public_url: url,
        trusted_proxies: config.server.trusted_proxies.clone(),
        tasks: tasks.clone(),
    });
    if let Some(listen) = config.metrics.listen {
        let listener = server::bind(listen).await?;
        let router = postroom_web::metrics_router(engine.clone());
        tasks.spawn(server::serve(listener, router, None, tasks.stopping().clone()));
    }
    let serving = server::serve(listener, router, tls, tasks.stopping().clone());
    tasks.spawn(serving);
    // The pages and the webhook answer before anything asks Microsoft to call them.
    engine.start().await?;
    tracing::info!(server.listen = %config.server.listen, "Postroom serves");
    ended.await;
    tracing::info!("Postroom ends");
    server::stop(&tasks).await;
    engine.store().db.close().await;
    Ok(ExitCode::SUCCESS)
}
