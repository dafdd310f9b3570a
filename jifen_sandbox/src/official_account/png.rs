//! A QR code as a PNG image of one bit per pixel.

use std::io::Write;

use fast_qr::{ECL, QRBuilder};
use flate2::{Compression, Crc, write::ZlibEncoder};

/// White modules around the code, as the standard asks for.
const QUIET_MODULES: usize = 4;
const PIXELS_PER_MODULE: usize = 10;

/// `None` if the text is too long for a QR code.
pub(crate) fn qr_code(text: &str) -> Option<Vec<u8>> {
    let code = QRBuilder::new(text).ecl(ECL::M).build().ok()?;
    let modules = code.size + 2 * QUIET_MODULES;
    let dark = |y: usize, x: usize| {
        let (Some(y), Some(x)) = (y.checked_sub(QUIET_MODULES), x.checked_sub(QUIET_MODULES))
        else {
            return false;
        };
        y < code.size && x < code.size && code[y][x].value()
    };
    let pixels = modules * PIXELS_PER_MODULE;
    let mut rows = Vec::with_capacity(pixels * (pixels / 8 + 2));
    for y in 0..modules {
        let mut row = vec![0_u8; 1 + pixels.div_ceil(8)];
        for x in (0..pixels).filter(|x| !dark(y, x / PIXELS_PER_MODULE)) {
            if let Some(byte) = row.get_mut(1 + x / 8) {
                *byte |= 0x80 >> (x % 8);
            }
        }
        (0..PIXELS_PER_MODULE).for_each(|_| rows.extend_from_slice(&row));
    }
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&rows).ok()?;
    let side = u32::try_from(pixels).ok()?.to_be_bytes();
    // Width, height, one bit per pixel, greyscale, and the only compression, filter and interlace methods without options.
    let header = [&side[..], &side[..], &[1, 0, 0, 0, 0]].concat();
    let chunks = [
        chunk(*b"IHDR", &header)?,
        chunk(*b"IDAT", &encoder.finish().ok()?)?,
        chunk(*b"IEND", &[])?,
    ];
    Some([&b"\x89PNG\r\n\x1a\n"[..], &chunks.concat()].concat())
}

fn chunk(kind: [u8; 4], data: &[u8]) -> Option<Vec<u8>> {
    let content = [&kind[..], data].concat();
    let mut crc = Crc::new();
    crc.update(&content);
    Some(
        [
            &u32::try_from(data.len()).ok()?.to_be_bytes()[..],
            &content,
            &crc.sum().to_be_bytes(),
        ]
        .concat(),
    )
}
