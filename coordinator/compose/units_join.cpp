#include "coordinator/compose/units_join.h"

#include "common/base/file_time.h"
#include "coordinator/compose/first_boot.h"
#include "coordinator/compose/unit_tools.h"
#include "coordinator/join/routes.h"

namespace roamstead::compose {
namespace {

// Of the answer file but its blob, and more than it needs.
constexpr std::uint64_t kAnswerBytes = 2048;

bool joins_by(const UnitContext& context, JoinMethod method) {
  return context.join != nullptr && context.spec.join && context.spec.join->method == method;
}

// Of a file that holds `bytes`: whole blocks, and never so little that NTFS keeps it inside its record.
std::uint32_t room_for(std::uint64_t bytes) {
  constexpr std::uint64_t kBlock = 4096;
  return static_cast<std::uint32_t>((bytes + kBlock - 1) / kBlock * kBlock);
}
std::uint64_t base64_bytes(std::uint64_t bytes) { return (bytes + 2) / 3 * 4; }

Result<join::SecretBytes> blob_of(const UnitContext& context, const CloneFacts& clone) {
  if (!clone.join_blob.empty()) return clone.join_blob;
  return join::write_odj_data(join::make_odj_blob(*clone.membership, context.join->controller));
}

Result<void> own_direct(const UnitContext& context, const CloneFacts& clone, OwnEdits& edits) {
  RS_TRY(auto own, context.join->direct->own(*clone.membership, now_100ns()));
  for (auto& value : own) add_own(edits, std::move(value.edit), value.capacity_bytes);
  return {};
}

Result<void> own_blob_file(const UnitContext& context, const CloneFacts& clone, OwnEdits& edits) {
  RS_TRY(const auto blob, blob_of(context, clone));
  auto file = join::runonce_blob_file(blob, kFirstBootFolder);
  // In UTF-16 what fills a slot up would be letters: NULs end the text for whoever reads it.
  const auto room = room_for(2 * base64_bytes(context.join->most_blob_bytes) + 4);
  if (file.content.size() < room) file.content.resize(room);
  edits.files.push_back({std::move(file), room});
  return {};
}

}  // namespace

Result<void> common_join(const UnitContext& context, Edits& edits) {
  if (context.join == nullptr) return {};
  if (joins_by(context, JoinMethod::unattend) && !context.image.generalised)
    return fail(ErrorCode::unsupported,
                "the image was not generalised (sysprep /generalize), so that no Setup will take the blob: "
                "join it by method \"direct\"");
  if (!joins_by(context, JoinMethod::direct)) return {};
  if (context.image.generalised)
    return fail(ErrorCode::unsupported,
                "the image was generalised, and its Setup would undo a membership that is written now: join "
                "it by method \"unattend\"");
  join::DirectOptions options;
  options.keep_password = !context.spec.machine_password_change;
  RS_TRY(edits.registry,
         context.join->direct->common(context.hives.hive(HiveId::sam), context.join->domain, options));
  return {};
}

Result<void> own_join(const UnitContext& context, const CloneFacts& clone, OwnEdits& edits) {
  if (context.join == nullptr || !clone.membership) return {};
  if (joins_by(context, JoinMethod::direct)) return own_direct(context, clone, edits);
  if (joins_by(context, JoinMethod::runonce)) return own_blob_file(context, clone, edits);
  return {};  // the answer file has it
}

Result<void> common_answer_file(const UnitContext& context, Edits& edits) {
  if (!context.image.generalised) return {};
  if (context.image.has_answer_file) {
    if (!joins_by(context, JoinMethod::unattend)) return {};  // it says what it says: a warning of the plan
    return fail(ErrorCode::exists,
                std::string(join::kUnattendPath) +
                    ": the image has an answer file of its own; remove it from the image and put what it did "
                    "into the pool's specification, or join by another method");
  }
  // One of the image's own has to do this: a warning of the plan.
  if (context.image.has_setup_complete) return {};
  const auto script = join::setup_complete_script();
  const auto bytes = as_bytes(script);
  edits.files.push_back({join::kSetupCompletePath, Bytes(bytes.begin(), bytes.end()), false, ""});
  return {};
}

Result<void> own_answer_file(const UnitContext& context, const CloneFacts& clone, OwnEdits& edits) {
  if (!context.image.generalised || context.image.has_answer_file) return {};
  join::SecretBytes blob;
  std::uint64_t most = 0;
  if (joins_by(context, JoinMethod::unattend) && clone.membership) {
    RS_TRY(blob, blob_of(context, clone));
    most = context.join->most_blob_bytes;
  }
  RS_TRY(auto file, join::unattend_join_file(clone.name, blob, context.image.architecture));
  edits.files.push_back({std::move(file), room_for(base64_bytes(most) + kAnswerBytes)});
  return {};
}

}  // namespace roamstead::compose
