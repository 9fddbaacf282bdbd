//! Random requests.

/// Random commands of random arguments, more often right than wrong.
pub(super) struct Generator {
    pub rng: fastrand::Rng,
    /// All keys in one slot, so that MSET works however many groups there are.
    pub one_slot: bool,
}

impl Generator {
    fn key(&mut self) -> Vec<u8> {
        let number = self.rng.u32(..12);
        match (self.one_slot, self.rng.u32(..20)) {
            (true, _) => format!("{{t}}{number}").into_bytes(),
            (false, 0) => Vec::new(),
            (false, 1) => b"bin\0\r\n\xff".to_vec(),
            (false, _) => format!("key:{number}").into_bytes(),
        }
    }

    fn value(&mut self) -> Vec<u8> {
        let words: [&[u8]; 14] = [
            b"",
            b"0",
            b"-1",
            b"12",
            b"007",
            b"+5",
            b" 3",
            b"abc",
            b"3.5",
            b"9223372036854775807",
            b"-9223372036854775808",
            b"9223372036854775806",
            b"$-1\r\n",
            b"-0",
        ];
        match self.rng.u32(..4) {
            0 => (0..self.rng.usize(..30)).map(|_| self.rng.u8(..)).collect(),
            _ => words[self.rng.usize(..words.len())].to_vec(),
        }
    }

    fn number(&mut self) -> Vec<u8> {
        let words =
            ["0", "1", "-1", "5", "-5", "30", "x", "", "9223372036854775807", "-9223372036854775808", "1.5"];
        match self.rng.u32(..3) {
            0 => words[self.rng.usize(..words.len())].into(),
            _ => self.rng.i32(-12..40).to_string().into_bytes(),
        }
    }

    pub fn pattern(&mut self) -> Vec<u8> {
        let pieces =
            ["*", "?", "[a-k]", "[^k]", "key", ":", "1", "[", "]", "\\", "\\*", "[1-", "^", "-", "{t}"];
        let len = self.rng.usize(..5);
        (0..len).flat_map(|_| pieces[self.rng.usize(..pieces.len())].bytes()).collect()
    }

    fn set_options(&mut self, args: &mut Vec<Vec<u8>>) {
        while self.rng.u32(..3) == 0 {
            let options = ["NX", "XX", "GET", "nx", "gEt", "foo", "xx"];
            args.push(options[self.rng.usize(..options.len())].into());
        }
    }

    pub fn command(&mut self) -> Vec<Vec<u8>> {
        let names = [
            "GET", "SET", "SET", "SET", "SETNX", "GETSET", "GETDEL", "MGET", "MSET", "DEL", "UNLINK",
            "EXISTS", "TOUCH", "TYPE", "STRLEN", "APPEND", "GETRANGE", "SUBSTR", "SETRANGE", "INCR", "DECR",
            "INCRBY", "DECRBY", "KEYS", "DBSIZE", "FLUSHALL", "ECHO", "PING", "SCAN",
        ];
        let name = names[self.rng.usize(..names.len())];
        let mut args = vec![name.as_bytes().to_vec()];
        match name {
            "DBSIZE" => {}
            // Rarely, or there would never be many keys.
            "FLUSHALL" if self.rng.u32(..20) > 0 => args = vec![b"DBSIZE".to_vec()],
            "FLUSHALL" => {}
            "KEYS" => args.push(self.pattern()),
            "SCAN" => args.extend([b"0".to_vec(), b"COUNT".to_vec(), b"99999".to_vec()]),
            "MGET" | "DEL" | "UNLINK" | "EXISTS" | "TOUCH" => {
                let len = self.rng.usize(1..5);
                args.extend((0..len).map(|_| self.key()));
            }
            "MSET" => {
                for _ in 0..self.rng.usize(1..4) {
                    args.extend([self.key(), self.value()]);
                }
            }
            "ECHO" => args.push(self.value()),
            "PING" => {}
            _ => args.push(self.key()),
        }
        match name {
            "SET" => {
                args.push(self.value());
                self.set_options(&mut args);
            }
            "SETNX" | "GETSET" | "APPEND" => args.push(self.value()),
            "GETRANGE" | "SUBSTR" => args.extend([self.number(), self.number()]),
            "SETRANGE" => {
                // An offset between our limit and Redis's would tell the two apart.
                let number = self.number();
                args.extend([number, self.value()]);
            }
            "INCRBY" | "DECRBY" => args.push(self.number()),
            _ => {}
        }
        self.damage(&mut args);
        args
    }

    /// Sometimes an argument too many or too few, often a name in mixed case.
    fn damage(&mut self, args: &mut Vec<Vec<u8>>) {
        match self.rng.u32(..40) {
            0 => args.push(b"extra".to_vec()),
            1 if args.len() > 1 => drop(args.pop()),
            2 => args[0].push(b'x'),
            _ => {}
        }
        for letter in &mut args[0] {
            if self.rng.bool() {
                letter.make_ascii_lowercase();
            }
        }
    }
}
