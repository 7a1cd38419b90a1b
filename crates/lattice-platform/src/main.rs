use std::sync::Arc;
fn main() -> anyhow::Result<()> {
    let rt = tokio::runtime::Runtime::new()?;
    rt.block_on(async {
        let features = wasmcloud_host::wasmbus::Features::new();
        let (_h, _s) = wasmcloud_host::wasmbus::Host::new(wasmcloud_host::wasmbus::HostConfig {
            experimental_features: features, host_key: Some(Arc::new(nkeys::KeyPair::new_server())), ..Default::default() }).await?;
        let _ = wadm::start_wadm(wadm::config::WadmConfig::default()).await;
        anyhow::Ok(())
    })
}
