#![no_main]

use latchkey_proto::csi::v1::NodePublishVolumeRequest;
use prost::Message as _;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let Ok(request) = NodePublishVolumeRequest::decode(input) {
        latchkey_csi::fuzzing::publish(request);
    }
});
