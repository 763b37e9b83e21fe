// Whatever a peer may send: a frame's header and payload, and an encoded batch with its content layout.
#include "common/wire/batch_stream.h"
#include "common/wire/message.h"

using namespace roamstead;

namespace {

template <class Message>
void decode_as(const wire::Frame& frame) {
  auto message = wire::decode_message<Message>(frame, "fuzz");
  // What was understood can be said again.
  if (message && wire::encode_message(*message).empty()) __builtin_trap();
}

void decode_frame(ByteView input) {
  if (input.size() < wire::kFrameHeaderBytes) return;
  auto header = wire::parse_frame_header(input.first(wire::kFrameHeaderBytes));
  if (!header) return;
  wire::Frame frame{header->type, header->compressed, header->request,
                    to_bytes(input.subspan(wire::kFrameHeaderBytes))};
  auto plain = wire::plain_payload(frame);
  if (plain && plain->size() > std::max(input.size(), wire::kMaxPayloadBytes)) __builtin_trap();
  decode_as<wire::Hello>(frame);
  decode_as<wire::HelloReply>(frame);
  decode_as<wire::Failure>(frame);
  decode_as<wire::OpenRequest>(frame);
  decode_as<wire::OpenReply>(frame);
  decode_as<wire::ListRequest>(frame);
  decode_as<wire::DirectoryPart>(frame);
  decode_as<wire::ReadRequest>(frame);
  decode_as<wire::FetchRequest>(frame);
  decode_as<wire::FetchReply>(frame);
  decode_as<wire::KeysRequest>(frame);
  decode_as<profile::KeyStates>(frame);
  decode_as<wire::ValueRequest>(frame);
  decode_as<wire::SessionRequest>(frame);
  decode_as<wire::BatchBegin>(frame);
  decode_as<wire::LearnedRequest>(frame);
  decode_as<wire::UseRequest>(frame);
  decode_as<wire::Credit>(frame);
  decode_as<wire::CommitReply>(frame);
  decode_as<wire::SnapshotOfferRequest>(frame);
  decode_as<wire::SnapshotOffer>(frame);
  decode_as<wire::QuietRequest>(frame);
  decode_as<wire::FrozenReply>(frame);
  decode_as<wire::HeldRequest>(frame);
  if (auto state = wire::decode_snapshot_state(frame); state && wire::encode_message(*state).empty())
    __builtin_trap();
  if (auto reply = wire::decode_hello_reply(frame); reply && reply->settings) {
    for (const auto& each : *reply->settings) (void)settings::check_sent(each);
    auto kept = settings::decode_sent(settings::encode_sent(*reply->settings));
    if (!kept || kept->size() > reply->settings->size()) __builtin_trap();
  }
  if (auto push = wire::decode_push(frame); push && wire::encode_message(*push).empty()) __builtin_trap();
}

void decode_batch(ByteView input) {
  auto batch = wire::decode_batch(input);
  if (!batch) return;
  auto layout = wire::ContentLayout::of(*batch);
  if (!layout) return;
  for (const auto& piece : layout->pieces()) {
    auto position = layout->locate(piece.record, piece.stream, piece.range);
    if (!position || *position != piece.position) __builtin_trap();
  }
  auto again = wire::encode_batch(*batch);
  if (!again || !std::equal(again->begin(), again->end(), input.begin(), input.end())) __builtin_trap();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  auto input = std::as_bytes(std::span(data, size));
  decode_frame(input);
  if (auto kept = settings::decode_sent(input); kept && !settings::check_sent_size(*kept)) __builtin_trap();
  decode_batch(input);
  return 0;
}
