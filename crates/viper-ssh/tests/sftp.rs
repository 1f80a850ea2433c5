//! The SFTP client against the SFTP server, in memory.

use std::collections::BTreeMap;

use proptest::prelude::*;
use viper_ssh::Error;
use viper_ssh::sftp::{
    Attributes, Download, Entry, FileKind, Handle, OpenFlags, RequestId, Response, SftpClient,
    SftpEvent, SftpFs, SftpServer, Space, Status, Upload,
};

/// Files in memory, without directories but for the root.
#[derive(Default)]
struct Memory {
    files: BTreeMap<String, Vec<u8>>,
    /// The most bytes one read gives.
    read_max: usize,
    /// Writes beyond this length fail.
    full_at: usize,
}

impl Memory {
    fn new() -> Self {
        Memory {
            read_max: usize::MAX,
            full_at: usize::MAX,
            ..Memory::default()
        }
    }

    fn get(&mut self, path: &str) -> Result<&mut Vec<u8>, Status> {
        self.files.get_mut(path).ok_or(Status::NoSuchFile)
    }
}

fn size(len: usize) -> Attributes {
    Attributes {
        size: Some(len as u64),
        permissions: Some(0o100_644),
        ..Attributes::default()
    }
}

impl SftpFs for Memory {
    type File = String;
    type Directory = Vec<Entry>;

    fn open(&mut self, path: &str, flags: OpenFlags, _: &Attributes) -> Result<String, Status> {
        if flags.contains(OpenFlags::EXCLUSIVE) && self.files.contains_key(path) {
            return Err(Status::Failure);
        }
        if flags.contains(OpenFlags::CREATE) {
            self.files.entry(path.into()).or_default();
        }
        let file = self.get(path)?;
        if flags.contains(OpenFlags::TRUNCATE) {
            file.clear();
        }
        Ok(path.into())
    }

    fn read(&mut self, file: &mut String, offset: u64, out: &mut [u8]) -> Result<usize, Status> {
        let max = self.read_max;
        let data = self.get(file)?;
        let rest = data.get(offset as usize..).unwrap_or_default();
        let len = rest.len().min(out.len()).min(max);
        out[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn write(&mut self, file: &mut String, offset: u64, data: &[u8]) -> Result<(), Status> {
        let end = offset as usize + data.len();
        if end > self.full_at {
            return Err(Status::Failure);
        }
        let held = self.get(file)?;
        held.resize(held.len().max(end), 0);
        held[offset as usize..end].copy_from_slice(data);
        Ok(())
    }

    fn file_attributes(&mut self, file: &mut String) -> Result<Attributes, Status> {
        self.get(file).map(|data| size(data.len()))
    }

    fn attributes(&mut self, path: &str, _: bool) -> Result<Attributes, Status> {
        self.get(path).map(|data| size(data.len()))
    }

    fn open_directory(&mut self, path: &str) -> Result<Vec<Entry>, Status> {
        if path != "/" {
            return Err(Status::NoSuchFile);
        }
        let files = self.files.iter().rev();
        let entry = |(name, data): (&String, &Vec<u8>)| Entry {
            name: name.trim_start_matches('/').into(),
            attributes: size(data.len()),
        };
        Ok(files.map(entry).collect())
    }

    fn read_directory(&mut self, directory: &mut Vec<Entry>) -> Result<Option<Entry>, Status> {
        Ok(directory.pop())
    }

    fn real_path(&mut self, path: &str) -> Result<String, Status> {
        Ok(format!("/{}", path.trim_start_matches(['.', '/'])))
    }

    fn space(&mut self, _: &str) -> Result<Space, Status> {
        Ok(Space {
            block_bytes: 512,
            blocks: 100,
            blocks_free: 60,
            files: 20,
            files_free: 19,
            name_max: 255,
            read_only: true,
        })
    }

    fn remove(&mut self, path: &str) -> Result<(), Status> {
        self.files.remove(path).map(drop).ok_or(Status::NoSuchFile)
    }

    fn rename(&mut self, from: &str, to: &str, replace: bool) -> Result<(), Status> {
        if self.files.contains_key(to) && !replace {
            return Err(Status::Failure);
        }
        let data = self.files.remove(from).ok_or(Status::NoSuchFile)?;
        self.files.insert(to.into(), data);
        Ok(())
    }
}

struct Pair {
    client: SftpClient,
    server: SftpServer<Memory>,
    chunk_len: usize,
}

impl Pair {
    fn new(fs: Memory) -> Self {
        let mut pair = Pair {
            client: SftpClient::new(),
            server: SftpServer::new(fs),
            chunk_len: 50_000,
        };
        pair.run();
        let Some(SftpEvent::Ready { extensions }) = pair.client.poll_event() else {
            panic!()
        };
        assert!(
            extensions
                .iter()
                .any(|name| name == "posix-rename@openssh.com")
        );
        pair
    }

    fn step(&mut self) -> bool {
        let out = self.client.poll_output();
        let out = &out[..out.len().min(self.chunk_len)];
        let to_server = self.server.handle_input(out).unwrap();
        self.client.output_sent(to_server);
        let out = self.server.poll_output();
        let out = out[..out.len().min(self.chunk_len)].to_vec();
        let to_client = self.client.handle_input(&out).unwrap();
        self.server.output_sent(to_client);
        to_server + to_client > 0
    }

    fn run(&mut self) {
        while self.step() {}
    }

    fn answer(&mut self, asked: Result<RequestId, Error>) -> Response {
        let asked = asked.unwrap();
        self.run();
        match self.client.poll_event() {
            Some(SftpEvent::Response { id, response }) if id == asked => response,
            other => panic!("{other:?}"),
        }
    }

    fn status(&mut self, asked: Result<RequestId, Error>) -> Status {
        match self.answer(asked) {
            Response::Status { status, .. } => status,
            other => panic!("{other:?}"),
        }
    }

    fn handle(&mut self, asked: Result<RequestId, Error>) -> Handle {
        match self.answer(asked) {
            Response::Handle(handle) => handle,
            other => panic!("{other:?}"),
        }
    }

    fn upload(&mut self, path: &str, data: &[u8]) -> Result<(), Status> {
        let upload = Upload::start(&mut self.client, path, &Attributes::default());
        self.finish_upload(upload.unwrap(), data)
    }

    fn finish_upload(&mut self, mut upload: Upload, data: &[u8]) -> Result<(), Status> {
        let mut rest = data;
        while upload.result().is_none() {
            let wants = upload.wants();
            if wants > 0 {
                let (head, tail) = rest.split_at(wants.min(rest.len()));
                upload.feed(&mut self.client, head).unwrap();
                rest = tail;
            }
            let moved = self.step();
            while let Some(SftpEvent::Response { id, response }) = self.client.poll_event() {
                upload.handle(&mut self.client, id, &response).unwrap();
            }
            assert!(moved || wants > 0 || upload.result().is_some(), "stuck");
        }
        upload.result().unwrap()
    }

    fn download(&mut self, path: &str) -> Result<Vec<u8>, Status> {
        let download = Download::start(&mut self.client, path).unwrap();
        self.finish_download(download, Vec::new())
    }

    fn finish_download(
        &mut self,
        mut download: Download,
        mut data: Vec<u8>,
    ) -> Result<Vec<u8>, Status> {
        while download.result().is_none() {
            let moved = self.step();
            while let Some(SftpEvent::Response { id, response }) = self.client.poll_event() {
                let chunk = download.handle(&mut self.client, id, &response).unwrap();
                if let Some(chunk) = chunk {
                    let end = chunk.offset as usize + chunk.data.len();
                    data.resize(data.len().max(end), 0);
                    data[chunk.offset as usize..end].copy_from_slice(&chunk.data);
                }
            }
            assert!(moved || download.result().is_some(), "stuck");
        }
        download.result().unwrap().map(|()| data)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn files_come_back_as_they_went(
        len in prop_oneof![0usize..5, 32_760..32_780usize, 0..300_000usize],
        read_max in prop_oneof![Just(usize::MAX), 1000..40_000usize],
        chunk_len in 1000..100_000usize,
    ) {
        let mut pair = Pair::new(Memory { read_max, ..Memory::new() });
        pair.chunk_len = chunk_len;
        let data: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
        prop_assert_eq!(pair.upload("/f", &data), Ok(()));
        prop_assert_eq!(&pair.server.fs().files["/f"], &data);
        prop_assert_eq!(pair.download("/f"), Ok(data));
        prop_assert_eq!(pair.client.pending(), 0);
    }
}

#[test]
fn transfers_go_on_where_they_ended() {
    let data: Vec<u8> = (0..200_000u32).map(|i| (i % 251) as u8).collect();
    for at in [0, 1, 32_768, 100_001, 199_999, 200_000] {
        let mut pair = Pair::new(Memory::new());
        assert_eq!(pair.upload("/f", &data[..at]), Ok(()));
        let upload = Upload::start_at(&mut pair.client, "/f", at as u64).unwrap();
        assert_eq!(pair.finish_upload(upload, &data[at..]), Ok(()));
        assert!(pair.server.fs().files["/f"] == data);
        let download = Download::start_at(&mut pair.client, "/f", at as u64).unwrap();
        let got = pair.finish_download(download, data[..at].to_vec());
        assert!(got.unwrap() == data, "from {at}");
    }
    let mut pair = Pair::new(Memory::new());
    let upload = Upload::start_at(&mut pair.client, "/missing", 0).unwrap();
    assert_eq!(pair.finish_upload(upload, b"x"), Err(Status::NoSuchFile));
}

#[test]
fn the_room_of_a_file_system() {
    let mut server = SftpServer::new(Memory::new());
    let name = b"statvfs@openssh.com";
    let mut message = vec![200, 0, 0, 0, 7, 0, 0, 0, name.len() as u8];
    message.extend(name);
    message.extend([0, 0, 0, 2]);
    message.extend(b"/f");
    for message in [vec![1, 0, 0, 0, 3], message] {
        let mut bytes = (message.len() as u32).to_be_bytes().to_vec();
        bytes.extend(message);
        assert_eq!(server.handle_input(&bytes).unwrap(), bytes.len());
    }
    let output = server.poll_output();
    let shown = String::from_utf8_lossy(output);
    assert!(shown.contains("statvfs@openssh.com\0\0\0\x012"), "{shown}");
    let answer = &output[output.len() - (4 + 1 + 4 + 11 * 8)..];
    assert_eq!(answer[..9], [0, 0, 0, 93, 201, 0, 0, 0, 7]);
    let fields: Vec<u64> = answer[9..]
        .chunks(8)
        .map(|field| u64::from_be_bytes(field.try_into().unwrap()))
        .collect();
    assert_eq!(fields, [512, 512, 100, 60, 60, 20, 19, 19, 0, 1, 255]);
}

#[test]
fn one_byte_at_a_time() {
    let mut pair = Pair::new(Memory::new());
    pair.chunk_len = 1;
    assert_eq!(pair.upload("/f", b"some text"), Ok(()));
    assert_eq!(pair.download("/f"), Ok(b"some text".to_vec()));
}

#[test]
fn failures_of_transfers_are_told() {
    let mut pair = Pair::new(Memory {
        full_at: 100_000,
        ..Memory::new()
    });
    assert_eq!(pair.upload("/f", &vec![0; 200_000]), Err(Status::Failure));
    assert_eq!(pair.download("/missing"), Err(Status::NoSuchFile));
    assert_eq!(pair.client.pending(), 0);
}

#[test]
fn files_and_names() {
    let mut pair = Pair::new(Memory::new());
    let flags = OpenFlags::READ | OpenFlags::WRITE | OpenFlags::CREATE;
    let asked = pair.client.open("/a", flags, &Attributes::default());
    let file = pair.handle(asked);
    let asked = pair.client.write(&file, 2, b"xyz");
    assert_eq!(pair.status(asked), Status::Ok);
    let asked = pair.client.read(&file, 1, 100);
    assert_eq!(pair.answer(asked), Response::Data(b"\0xyz".to_vec()));
    let asked = pair.client.read(&file, 5, 100);
    assert_eq!(pair.status(asked), Status::Eof);
    let asked = pair.client.file_attributes(&file);
    let Response::Attributes(attributes) = pair.answer(asked) else {
        panic!()
    };
    assert_eq!(
        (attributes.size, attributes.kind()),
        (Some(5), Some(FileKind::File))
    );
    let asked = pair.client.sync(&file);
    assert_eq!(pair.status(asked), Status::Unsupported);
    let asked = pair.client.close(&file);
    assert_eq!(pair.status(asked), Status::Ok);
    // A handle is worth nothing after that.
    let asked = pair.client.read(&file, 0, 1);
    assert_eq!(pair.status(asked), Status::Failure);
    let asked = pair
        .client
        .open("/a", flags | OpenFlags::EXCLUSIVE, &Attributes::default());
    assert_eq!(pair.status(asked), Status::Failure);

    let asked = pair.client.real_path(".");
    let Response::Names(names) = pair.answer(asked) else {
        panic!()
    };
    assert_eq!((names.len(), names[0].name.as_str()), (1, "/"));
    pair.server.fs().files.insert("/b".into(), Vec::new());
    let asked = pair.client.rename("/a", "/b");
    assert_eq!(pair.status(asked), Status::Failure);
    let asked = pair.client.replace("/a", "/b");
    assert_eq!(pair.status(asked), Status::Ok);
    let asked = pair.client.remove("/a");
    assert_eq!(pair.status(asked), Status::NoSuchFile);
    let asked = pair.client.symlink("/b", "/c");
    assert_eq!(pair.status(asked), Status::Unsupported);
}

#[test]
fn long_directories() {
    let mut fs = Memory::new();
    for index in 0..500 {
        fs.files.insert(format!("/file{index:03}"), vec![0; index]);
    }
    let mut pair = Pair::new(fs);
    let asked = pair.client.open_directory("/");
    let directory = pair.handle(asked);
    let mut names = Vec::new();
    loop {
        let asked = pair.client.read_directory(&directory);
        match pair.answer(asked) {
            Response::Names(more) => names.extend(more),
            Response::Status { status, .. } => {
                assert_eq!(status, Status::Eof);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(names.len(), 500);
    assert_eq!(
        (names[7].name.as_str(), names[7].attributes.size),
        ("file007", Some(7))
    );
}

#[test]
fn limits() {
    let mut pair = Pair::new(Memory::new());
    // Open files are limited.
    let flags = OpenFlags::WRITE | OpenFlags::CREATE;
    let mut refused = 0;
    for index in 0..70 {
        let asked = pair
            .client
            .open(&format!("/{index}"), flags, &Attributes::default());
        refused += usize::from(matches!(pair.answer(asked), Response::Status { .. }));
    }
    assert_eq!(refused, 6);
    // So are requests that wait for an answer.
    let mut asked = 0;
    while pair.client.real_path(".").is_ok() {
        asked += 1;
    }
    assert_eq!(
        (asked, pair.client.real_path(".")),
        (128, Err(Error::LimitExceeded))
    );
    // And messages.
    let mut server = SftpServer::new(Memory::new());
    assert_eq!(
        server.handle_input(&[0, 4, 0, 1]),
        Err(Error::LimitExceeded)
    );
    assert_eq!(
        SftpClient::new().handle_input(&[0, 0, 0, 0]),
        Err(Error::LimitExceeded)
    );
}

#[test]
fn what_makes_no_sense_is_refused() {
    // A first message that is not INIT.
    let mut server = SftpServer::new(Memory::new());
    let result = server.handle_input(&[0, 0, 0, 5, 3, 0, 0, 0, 3]);
    assert_eq!(result, Err(Error::UnexpectedMessage(3)));
    // Another version.
    let mut client = SftpClient::new();
    let result = client.handle_input(&[0, 0, 0, 5, 2, 0, 0, 0, 6]);
    assert_eq!(result, Err(Error::BadVersion));
    assert_eq!(client.real_path("."), Err(Error::WrongState));
    // An answer nobody asked for, and one of the wrong kind.
    let mut client = Pair::new(Memory::new()).client;
    let data = [0, 0, 0, 10, 103, 0, 0, 0, 0, 0, 0, 0, 1, b'x'];
    assert_eq!(
        client.handle_input(&data),
        Err(Error::UnexpectedMessage(103))
    );
    let mut client = Pair::new(Memory::new()).client;
    client.real_path(".").unwrap();
    assert_eq!(
        client.handle_input(&data),
        Err(Error::UnexpectedMessage(103))
    );
    // A request that ends too early is answered.
    let mut pair = Pair::new(Memory::new());
    assert_eq!(
        pair.server.handle_input(&[0, 0, 0, 6, 3, 0, 0, 0, 9, 0]),
        Ok(10)
    );
    assert_eq!(
        pair.server.poll_output()[4..13],
        [101, 0, 0, 0, 9, 0, 0, 0, 5]
    );
}
