//! Decompresses what programs have compressed: gzip, zstd, bzip2 and xz, told by their beginnings.

use std::io::{BufReader, Read, Result};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};

/// Memory for an xz stream: enough for what `xz -7` makes.
const XZ_MEMORY: u64 = 20 << 20;

/// The bytes that compressed ones stand for; `None` for what is not compressed, or by none of these.
pub fn unpacked(packed: impl Read + 'static) -> Result<Option<Box<dyn Read>>> {
    let mut packed = BufReader::with_capacity(64 * 1024, packed);
    let beginning = std::io::BufRead::fill_buf(&mut packed)?;
    Ok(Some(match beginning {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(packed)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::Decoder::with_buffer(packed)?),
        [b'B', b'Z', b'h', ..] => Box::new(MultiBzDecoder::new(packed)),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            let stream = Stream::new_stream_decoder(XZ_MEMORY, CONCATENATED)?;
            Box::new(XzDecoder::new_stream(packed, stream))
        }
        _ => return Ok(None),
    }))
}
