//! Requests as clients of eight languages put them on the wire.

use super::*;

/// How a client puts a request with JSON on the wire.
struct Shape {
    /// Headers, in their order and spelling; `{host}`, `{auth}` and `{length}` are filled
    /// in. Those with `{length}`, and of a body's type, are left out where there is none.
    headers: &'static [&'static str],
    /// As the client's library writes JSON.
    text: fn(&Value) -> String,
    /// Whether a body comes in chunks.
    chunked: bool,
}

fn plain(value: &Value) -> String {
    value.to_string()
}

impl Shape {
    fn request(
        &self,
        host: &str,
        auth: &str,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Vec<u8> {
        let text = body.map(self.text);
        let mut request = format!("{method} {path} HTTP/1.1\r\n");
        for header in self.headers {
            let lower = header.to_ascii_lowercase();
            let is_of_body = ["content-", "transfer-"]
                .iter()
                .any(|name| lower.starts_with(name));
            if is_of_body && text.is_none() {
                continue;
            }
            let length = text.as_ref().map_or(0, String::len).to_string();
            let header = header.replace("{host}", host).replace("{auth}", auth);
            request += &format!("{}\r\n", header.replace("{length}", &length));
        }
        request += "\r\n";
        match text {
            Some(text) if self.chunked => {
                // Two chunks, as a writer with a small buffer makes them.
                let (one, two) = text.split_at(text.len() / 2);
                for part in [one, two] {
                    request += &format!("{:X}\r\n{part}\r\n", part.len());
                }
                request += "0\r\n\r\n";
            }
            Some(text) => request += &text,
            None => {}
        }
        request.into_bytes()
    }
}

/// Makes, reads, changes and deletes a subscription of each dialect with such requests.
async fn serves(shape: &Shape) {
    let tenancy = Tenancy::quiet().await;
    let address = tenancy.anonymous().address();
    let key = &tenancy.tenant.key;
    let basic = |user: &str, password: &str| basic(user, password);
    let send = async |auth: &str, method: &str, path: &str, body: Option<&Value>| -> Reply {
        raw(
            address,
            &shape.request(&address.to_string(), auth, method, path, body),
        )
        .await
    };
    let close = json!({ "url": URL, "events": [{ "object_type": "lead", "action": "*" }] });
    let collect = json!({ "targetUrl": URL, "types": ["portalSubmited"] });
    let hookshot = json!({ "url": URL, "events": ["quote"], "secret": "Schlüssel 🔑" });
    for (auth, path, slash, body, status, id, change, method) in [
        (
            basic(key, ""),
            "/api/v1/webhook",
            "/",
            &close,
            201,
            "id",
            json!({ "status": "paused" }),
            "PUT",
        ),
        (
            basic("", key),
            "/v1/webhooks",
            "",
            &collect,
            200,
            "_id",
            json!({ "status": "paused" }),
            "POST",
        ),
        (
            format!("Bearer {key}"),
            "/hooks",
            "",
            &hookshot,
            201,
            "id",
            json!({ "active": false }),
            "PATCH",
        ),
    ] {
        let made = send(&auth, "POST", &format!("{path}{slash}"), Some(body))
            .await
            .expect(status);
        let id = made[id].as_str().expect("an id");
        let one = format!("{path}/{id}{slash}");
        assert_eq!(send(&auth, "GET", &one, None).await.expect(200), made);
        send(&auth, method, &one, Some(&change)).await.expect(200);
        let deleted = send(&auth, "DELETE", &one, None).await;
        assert!(matches!(deleted.status, 200 | 204), "{deleted:?}");
        send(&auth, "GET", &one, None).await.expect(404);
    }
}

#[tokio::test]
async fn curl_is_served() {
    let headers = &[
        "Host: {host}",
        "Authorization: {auth}",
        "User-Agent: curl/8.5.0",
        "Accept: */*",
        "Content-Type: application/json",
        "Content-Length: {length}",
    ];
    let shape = Shape {
        headers,
        text: plain,
        chunked: false,
    };
    serves(&shape).await;
}

/// As `json.dumps`: blanks after colons and commas, ASCII only.
fn as_python(value: &Value) -> String {
    let text = value
        .to_string()
        .replace("\":", "\": ")
        .replace(",\"", ", \"");
    let mut ascii = String::new();
    for char in text.chars() {
        if char.is_ascii() {
            ascii.push(char);
        } else {
            let mut units = [0; 2];
            for unit in char.encode_utf16(&mut units) {
                ascii += &format!("\\u{unit:04x}");
            }
        }
    }
    ascii
}

#[tokio::test]
async fn python_requests_is_served() {
    let headers = &[
        "Host: {host}",
        "User-Agent: python-requests/2.31.0",
        "Accept-Encoding: gzip, deflate",
        "Accept: */*",
        "Connection: keep-alive",
        "Content-Length: {length}",
        "Content-Type: application/json",
        "Authorization: {auth}",
    ];
    let shape = Shape {
        headers,
        text: as_python,
        chunked: false,
    };
    serves(&shape).await;
}

#[tokio::test]
async fn node_fetch_is_served() {
    let headers = &[
        "host: {host}",
        "connection: keep-alive",
        "authorization: {auth}",
        "content-type: application/json",
        "accept: */*",
        "accept-language: *",
        "sec-fetch-mode: cors",
        "user-agent: node",
        "accept-encoding: gzip, deflate",
        "content-length: {length}",
    ];
    let shape = Shape {
        headers,
        text: plain,
        chunked: false,
    };
    serves(&shape).await;
}

#[tokio::test]
async fn go_is_served() {
    let headers = &[
        "Host: {host}",
        "User-Agent: Go-http-client/1.1",
        "Content-Length: {length}",
        "Authorization: {auth}",
        "Content-Type: application/json",
        "Accept-Encoding: gzip",
    ];
    // Its encoder ends with a line.
    let text = |value: &Value| format!("{value}\n");
    serves(&Shape {
        headers,
        text,
        chunked: false,
    })
    .await;
}

#[tokio::test]
async fn ruby_is_served() {
    let headers = &[
        "Content-Type: application/json",
        "Accept-Encoding: gzip;q=1.0,deflate;q=0.6,identity;q=0.3",
        "Accept: */*",
        "User-Agent: Ruby",
        "Host: {host}",
        "Authorization: {auth}",
        "Connection: close",
        "Content-Length: {length}",
    ];
    let shape = Shape {
        headers,
        text: plain,
        chunked: false,
    };
    serves(&shape).await;
}

#[tokio::test]
async fn php_is_served() {
    let headers = &[
        "Content-Length: {length}",
        "User-Agent: GuzzleHttp/7",
        "Content-Type: application/json",
        "Host: {host}",
        "Authorization: {auth}",
    ];
    let text = |value: &Value| as_python(value).replace('/', "\\/");
    serves(&Shape {
        headers,
        text,
        chunked: false,
    })
    .await;
}

#[tokio::test]
async fn java_is_served() {
    // It offers HTTP/2 with every request.
    let headers = &[
        "Connection: Upgrade, HTTP2-Settings",
        "Content-Length: {length}",
        "Host: {host}",
        "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA",
        "Upgrade: h2c",
        "User-Agent: Java-http-client/17.0.9",
        "Authorization: {auth}",
        "Content-Type: application/json",
    ];
    let shape = Shape {
        headers,
        text: plain,
        chunked: false,
    };
    serves(&shape).await;
}

#[tokio::test]
async fn c_sharp_is_served() {
    let headers = &[
        "Host: {host}",
        "Authorization: {auth}",
        "Transfer-Encoding: chunked",
        "Content-Type: application/json; charset=utf-8",
    ];
    let shape = Shape {
        headers,
        text: plain,
        chunked: true,
    };
    serves(&shape).await;
}
