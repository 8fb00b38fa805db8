//! One request on a connection of its own, waited for: for what is asked now and then, beside the load.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::answer;

/// Longest time for an answer.
const WITHIN: Duration = Duration::from_secs(30);

/// Asks for a path with a key, or with none; status and body.
pub(crate) fn get(address: SocketAddr, path: &str, key: Option<&str>) -> anyhow::Result<(u16, Vec<u8>)> {
    let authorization = key.map_or_else(String::new, |key| format!("authorization: Bearer {key}\r\n"));
    let head = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n{authorization}connection: close\r\n\r\n");
    let mut stream = TcpStream::connect_timeout(&address, WITHIN).context("connecting")?;
    stream.set_read_timeout(Some(WITHIN)).context("a timeout")?;
    stream.write_all(head.as_bytes()).context("asking")?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).context("reading the answer")?;
    match answer::read(&bytes) {
        Ok(Some(answer)) => Ok((answer.status, answer.body.to_vec())),
        Ok(None) => bail!("GET {path}: an answer without an end"),
        Err(_) => bail!("GET {path}: not HTTP"),
    }
}

/// The sum of a metric over its labels that hold `label`; zero where there is none.
pub(crate) fn metric(text: &str, name: &str, label: &str) -> f64 {
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let is_whole_name = rest.starts_with(['{', ' ']);
        (is_whole_name && rest.contains(label)).then(|| rest.rsplit(' ').next()?.parse::<f64>().ok()).flatten()
    });
    values.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_summed_over_their_labels() {
        let text = "# TYPE a counter\na{x=\"1\",y=\"2\"} 3\na{x=\"2\"} 4\nab 9\nb 7\n";
        assert!((metric(text, "a", "") - 7.0).abs() < f64::EPSILON);
        assert!((metric(text, "a", "x=\"1\"") - 3.0).abs() < f64::EPSILON);
        assert!((metric(text, "b", "") - 7.0).abs() < f64::EPSILON);
    }
}
