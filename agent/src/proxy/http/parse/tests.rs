//! Heads that are right, wrong, unusual and hostile.

use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Result<Option<(RequestHead, usize)>, Malformed> {
    request(text.as_bytes())
}

fn good(text: &str) -> RequestHead {
    read(text).unwrap_or_else(|error| panic!("{text:?}: {error}")).expect("all of it").0
}

#[test]
fn a_request_is_read_to_its_end_and_not_beyond() {
    let text = "POST /a/b?c=d HTTP/1.1\r\nHost: pay:80\r\nX-One: 1\r\nx-one:  2 \t\r\nContent-Length: 5\r\n\r\nhello";
    let (head, taken) = read(text).expect("good").expect("whole");
    assert_eq!(&text[taken..], "hello");
    assert_eq!((head.method, &*head.target, &*head.authority), (Method::POST, "/a/b?c=d", "pay:80"));
    assert_eq!((head.version, head.framing), (Version::Http11, Framing::Length(5)));
    let ones: Vec<_> =
        head.fields.get_all("x-one").iter().map(|value| value.to_str().expect("text")).collect();
    assert_eq!(ones, ["1", "2"]);
    for end in 0..taken {
        assert!(read(&text[..end]).expect("good so far").is_none(), "{end}");
    }
}

#[test]
fn what_two_readers_could_read_in_two_ways_is_refused() {
    use Malformed::*;
    let post = |fields: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
    for (text, why) in [
        (post("Content-Length: 5\r\nContent-Length: 5"), ContentLength),
        (post("Content-Length: 5\r\nContent-Length: 6"), ContentLength),
        (post("Content-Length: 5, 5"), ContentLength),
        (post("Content-Length: +5"), ContentLength),
        (post("Content-Length: -5"), ContentLength),
        (post("Content-Length: 0x5"), ContentLength),
        (post("Content-Length: 5 5"), ContentLength),
        (post("Content-Length:"), ContentLength),
        (post("Content-Length: 18446744073709551616"), ContentLength),
        (post("Content-Length: 5\r\nTransfer-Encoding: chunked"), TwoLengths),
        (post("Transfer-Encoding: chunked\r\nContent-Length: 5"), TwoLengths),
        (post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), TransferEncoding),
        (post("Transfer-Encoding: gzip, chunked"), TransferEncoding),
        (post("Transfer-Encoding: chunked, identity"), TransferEncoding),
        (post("Transfer-Encoding: xchunked"), TransferEncoding),
        (post("Transfer-Encoding: \"chunked\""), TransferEncoding),
        (post("Transfer-Encoding : chunked"), FieldName),
        (post("Transfer-Encoding\t: chunked"), FieldName),
        (post("Transfer\rEncoding: chunked"), LineEnd),
        (post("X: a\r\n Transfer-Encoding: chunked"), Field),
        (post("X: a\r\n\tb"), Field),
        (post(" X: a"), Field),
        (post("X"), Field),
        (post(": a"), FieldName),
        (post("X Y: a"), FieldName),
        (post("X\u{0}: a"), FieldName),
        (post("X: a\u{0}b"), FieldValue),
        (post("X: a\u{7f}b"), FieldValue),
        (post("X: a\rb"), LineEnd),
        (post("X: a\nY: b"), LineEnd),
        ("GET / HTTP/1.1\nHost: a\n\n".into(), LineEnd),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n".into(), LineEnd),
        ("GET / HTTP/1.1\r\r\nHost: a\r\n\r\n".into(), LineEnd),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n".into(), Host),
        ("GET http://pay@/a HTTP/1.0\r\n\r\n".into(), Host),
        ("GET http://ann@pay/a HTTP/1.1\r\nHost: ann@pay\r\n\r\n".into(), Host),
        ("GET / HTTP/1.1\r\n\r\n".into(), Host),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n".into(), Host),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n".into(), Host),
        ("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n".into(), Host),
        ("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n".into(), Host),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n".into(), FirstLine),
        ("GET /\tHTTP/1.1\r\nHost: a\r\n\r\n".into(), FirstLine),
        ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n".into(), FirstLine),
        (" GET / HTTP/1.1\r\nHost: a\r\n\r\n".into(), FirstLine),
        ("GET /\r\n\r\n".into(), FirstLine),
        ("GET / http/1.1\r\nHost: a\r\n\r\n".into(), FirstLine),
        ("GET / HTTP/1.2\r\nHost: a\r\n\r\n".into(), Version),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n".into(), Version),
        ("GET / HTTP/01.1\r\nHost: a\r\n\r\n".into(), Version),
        ("G(T / HTTP/1.1\r\nHost: a\r\n\r\n".into(), Method),
        ("GET a HTTP/1.1\r\nHost: a\r\n\r\n".into(), Target),
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n".into(), Target),
        ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n".into(), Target),
        ("GET /\u{e4} HTTP/1.1\r\nHost: a\r\n\r\n".into(), Target),
        ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n".into(), Target),
        ("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n".into(), Target),
        ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".into(), TransferEncoding),
        ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".into(), FirstLine),
    ] {
        assert_eq!(read(&text).map(|head| head.map(|head| head.0.target)), Err(why), "{text:?}");
    }
}

#[test]
fn what_is_unusual_and_clear_is_taken() {
    assert_eq!(good("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n").target, "/");
    assert_eq!(good("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").target, "*");
    assert_eq!(good("GET http://A/b?c HTTP/1.1\r\nHost: a\r\n\r\n").target, "/b?c");
    assert_eq!(good("GET HTTP://a HTTP/1.1\r\nHost: a\r\n\r\n").target, "/");
    assert_eq!(good("GET / HTTP/1.0\r\n\r\n").authority, "");
    assert_eq!(good("GET / HTTP/1.1\r\nHost:\r\n\r\n").authority, "");
    assert_eq!(
        good("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n").framing,
        Framing::Chunked
    );
    assert_eq!(good("GET / HTTP/1.1\r\nHost: a\r\nX: \u{e4}\r\n\r\n").fields.len(), 2);
}

#[test]
fn a_head_is_bounded_before_it_is_whole() {
    let endless = format!("GET /{}", "a".repeat(TARGET + 100));
    assert_eq!(read(&endless).map(|_| ()), Err(Malformed::TargetLength));
    let endless = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "a".repeat(HEAD));
    assert_eq!(read(&endless).map(|_| ()), Err(Malformed::HeadSize));
    let many = format!("GET / HTTP/1.1\r\n{}", "X: a\r\n".repeat(FIELDS + 1));
    assert_eq!(read(&many).map(|_| ()), Err(Malformed::FieldCount));
    let large = format!("GET / HTTP/1.1\r\n{}", format!("X: {}\r\n", "a".repeat(4000)).repeat(20));
    assert_eq!(read(&large).map(|_| ()), Err(Malformed::HeadSize));
}

#[test]
fn a_response_has_the_body_that_its_status_and_its_request_allow() {
    let answer = |text: &str| response(text.as_bytes()).expect("good").expect("whole").0;
    let framing = |method: Method, text: &str| response_framing(&method, &answer(text)).expect("good");
    assert_eq!(framing(Method::GET, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"), Framing::Length(3));
    assert_eq!(framing(Method::HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"), Framing::Empty);
    assert_eq!(framing(Method::GET, "HTTP/1.1 304 \r\nContent-Length: 3\r\n\r\n"), Framing::Empty);
    assert_eq!(framing(Method::GET, "HTTP/1.1 204\r\n\r\n"), Framing::Empty);
    assert_eq!(framing(Method::GET, "HTTP/1.1 103 Hints\r\n\r\n"), Framing::Empty);
    assert_eq!(framing(Method::GET, "HTTP/1.0 200 OK\r\n\r\n"), Framing::UntilClose);
    let two = answer("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(response_framing(&Method::GET, &two), Err(Malformed::TwoLengths));
    for bad in ["HTTP/1.1 20 OK\r\n\r\n", "HTTP/1.1 2000\r\n\r\n", "HTTP/1.1\r\n\r\n", "ICY 200 OK\r\n\r\n"] {
        assert_eq!(response(bad.as_bytes()).map(|_| ()), Err(Malformed::FirstLine), "{bad}");
    }
}

proptest! {
    #[test]
    fn no_bytes_bring_a_parser_down(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = (request(&bytes), response(&bytes), fields(&bytes));
    }

    /// A reader that sees the head grow must not change its mind.
    #[test]
    fn more_bytes_never_make_a_bad_head_good(
        head in "(GET|POST) /[a-z%]{0,5} HTTP/1\\.1\r\n(Host: a\r\n)?([A-Za-z: \r\n]{0,12}\r\n){0,3}\r\n",
        cut in 0usize..40,
    ) {
        let cut = cut.min(head.len());
        if let Err(why) = request(&head.as_bytes()[..cut]) {
            prop_assert_eq!(request(head.as_bytes()).map(|_| ()), Err(why));
        }
    }
}
