//! Programs that were not written for these tests, as clients: curl, h2load, openssl, and nginx in front.

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Command;

use crate::harness::authority::Authority;
use crate::harness::client::sum;
use crate::harness::nginx::Nginx;
use crate::harness::{Client, Modern, Request, Tidegate, config, within};

const PATIENCE: Duration = Duration::from_mins(1);

struct Setting {
    folder: TempDir,
    tidegate: Tidegate,
    _upstream: Modern,
}

async fn setting() -> Setting {
    let (authority, folder) = (Authority::new(), TempDir::new().unwrap());
    authority.issue(&["shop.test"]).write(folder.path(), "shop");
    std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
    let upstream = Modern::plain().await;
    let tls = "[[listeners]]\nname = \"tls\"\naddress = \"127.0.0.1:0\"\n\
               tls = { certificates = [{ cert = \"shop.pem\", key = \"shop.key\" }] }\n";
    let rest = format!("{tls}{}", config::one_pool_at(&[upstream.address], "", ""));
    let tidegate = Tidegate::start_in(folder.path(), &config::with(&rest)).await;
    Setting { folder, tidegate, _upstream: upstream }
}

/// What a program wrote, which must have succeeded.
async fn run(program: &str, arguments: &[&str], input: Option<&Path>) -> String {
    let mut command = Command::new(program);
    command.args(arguments).kill_on_drop(true);
    if let Some(input) = input {
        command.stdin(std::fs::File::open(input).unwrap());
    }
    let output = within(PATIENCE, program, command.output()).await;
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; `cargo xtask setup` installs it"));
    let told =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {told}");
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_by_every_protocol() {
    let Setting { folder, tidegate, .. } = &setting().await;
    let body: Vec<u8> = (0..1 << 20).map(|at: u32| at.to_le_bytes()[0].wrapping_mul(7)).collect();
    let (sent, got) = (folder.path().join("sent"), folder.path().join("got"));
    std::fs::write(&sent, &body).unwrap();
    let port = tidegate.listener("tls").port();
    let (plain, secure) = (format!("http://{}/", tidegate.web()), format!("https://shop.test:{port}/"));
    let (resolve, data) = (format!("shop.test:{port}:127.0.0.1"), format!("@{}", sent.display()));
    for (protocol, url, version) in [
        ("--http1.1", &plain, "1.1"),
        ("--http2-prior-knowledge", &plain, "2"),
        ("--http1.1", &secure, "1.1"),
        ("--http2", &secure, "2"),
    ] {
        let ca = folder.path().join("ca.pem");
        let arguments = [
            "--silent",
            "--show-error",
            "--noproxy",
            "*",
            protocol,
            "--resolve",
            &resolve,
            "--cacert",
            ca.to_str().unwrap(),
            "--data-binary",
            &data,
            "--output",
            got.to_str().unwrap(),
            "--write-out",
            "%{http_code} %{http_version}",
            url,
        ];
        assert_eq!(run("curl", &arguments, None).await, format!("200 {version}"), "{protocol} {url}");
        assert_eq!(sum(&std::fs::read(&got).unwrap()), sum(&body), "{protocol} {url}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h2load_loses_nothing() {
    let Setting { tidegate, .. } = &setting().await;
    for url in [format!("http://{}/", tidegate.web()), format!("https://{}/", tidegate.listener("tls"))] {
        let told = run("h2load", &["-n", "5000", "-c", "10", "-m", "20", &url], None).await;
        assert!(told.contains("5000 succeeded, 0 failed, 0 errored, 0 timeout"), "{url}: {told}");
        assert!(told.contains("5000 2xx"), "{url}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssl_sees_what_it_should() {
    let Setting { folder, tidegate, .. } = &setting().await;
    let address = tidegate.listener("tls").to_string();
    let (ca, request) = (folder.path().join("ca.pem"), folder.path().join("request"));
    std::fs::write(&request, "GET / HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\r\n").unwrap();
    let base =
        ["s_client", "-connect", &address, "-servername", "shop.test", "-CAfile", ca.to_str().unwrap()];
    for (version, name) in [("-tls1_3", "TLSv1.3"), ("-tls1_2", "TLSv1.2")] {
        let arguments = [&base[..], &[version, "-verify_return_error", "-ign_eof"]].concat();
        let told = run("openssl", &arguments, Some(&request)).await;
        assert!(told.contains("Verify return code: 0 (ok)") && told.contains("HTTP/1.1 200"), "{told}");
        assert!(told.contains(name), "{version}: {told}");
    }
    let mut old = Command::new("openssl");
    old.args(base).args(["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"]).stdin(std::process::Stdio::null());
    let refused = within(PATIENCE, "TLS 1.1", old.output()).await.unwrap();
    assert!(!refused.status.success(), "TLS 1.1 is not spoken: {}", String::from_utf8_lossy(&refused.stdout));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_in_front_over_tls_and_kept_connections() {
    let Setting { tidegate, .. } = &setting().await;
    let server = format!(
        "location / {{ proxy_pass https://{}; proxy_http_version 1.1; proxy_set_header Connection \"\";\n\
         proxy_ssl_server_name on; proxy_ssl_name shop.test; proxy_set_header Host shop.test;\n\
         client_max_body_size 2m; }}",
        tidegate.listener("tls")
    );
    let nginx = Nginx::start(&server).await;
    let mut client = Client::new(nginx.address());
    let body = vec![7; 1 << 20];
    for _ in 0..20 {
        let answer = client.ask(&Request::get("/")).await;
        assert_eq!(answer.echoed("x-forwarded-proto").as_deref(), Some("https"), "{}", answer.text());
        let posted = client.ask(&Request::post("/", &body)).await;
        assert_eq!((posted.status, sum(&posted.body)), (200, sum(&body)));
    }
}
