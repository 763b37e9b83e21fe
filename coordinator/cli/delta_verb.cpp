// roamstead delta CHILD: the batch a layer would become, without sending it anywhere.
#include <fmt/format.h>

#include "common/extract/extract.h"
#include "coordinator/cli/verbs.h"

namespace roamstead::cli {
namespace {

struct Options {
  std::string child;
  std::string below_id;
  extract::Request request;
  extract::Extractor::Options extractor;
};

const char* kind_name(profile::EntryKind kind) {
  switch (kind) {
    case profile::EntryKind::file:
      return "file";
    case profile::EntryKind::directory:
      return "directory";
    case profile::EntryKind::junction:
      return "junction";
    case profile::EntryKind::symlink:
      return "symlink";
    case profile::EntryKind::opaque:
      return "opaque";
    case profile::EntryKind::registry:
      return "registry";
  }
  return "unknown";
}

std::uint64_t content_bytes(const profile::Put& put) {
  std::uint64_t total = 0;
  for (const auto& content : put.contents)
    for (auto write : content.writes) total += write.length;
  return total;
}

nlohmann::json put_json(const profile::Put& put) {
  nlohmann::json streams = nlohmann::json::array();
  for (const auto& content : put.contents) {
    nlohmann::json writes = nlohmann::json::array();
    for (auto write : content.writes) writes.push_back({{"offset", write.offset}, {"length", write.length}});
    streams.push_back({{"name", content.name}, {"size", content.size_bytes}, {"writes", std::move(writes)}});
  }
  nlohmann::json value{{"type", "put"},
                       {"path", put.path.text()},
                       {"kind", kind_name(put.entry.kind)},
                       {"size", put.entry.size_bytes},
                       {"streams", std::move(streams)}};
  if (put.base) value["base"] = put.base->text();
  if (!put.entry.link_target.empty()) value["target"] = put.entry.link_target;
  if (put.entry.link_group != 0) value["link_group"] = put.entry.link_group;
  return value;
}

nlohmann::json key_json(const profile::PutKey& key) {
  nlohmann::json values = nlohmann::json::array();
  for (const auto& value : key.values)
    values.push_back({{"name", value.name}, {"type", value.type}, {"size", value.size_bytes}});
  return {{"type", "put_key"},  {"hive", key.hive.text()},     {"key", key.key.text()},
          {"merge", key.merge}, {"values", std::move(values)}, {"deleted_values", key.deleted_values}};
}

nlohmann::json record_json(const profile::ChangeRecord& record) {
  if (const auto* gone = std::get_if<profile::Delete>(&record))
    return {{"type", "delete"}, {"source", gone->source.text()}};
  if (const auto* move = std::get_if<profile::Move>(&record))
    return {{"type", "move"}, {"source", move->source.text()}, {"target", move->target.text()}};
  if (const auto* key = std::get_if<profile::DeleteKey>(&record))
    return {{"type", "delete_key"}, {"hive", key->hive.text()}, {"key", key->key.text()}};
  if (const auto* key = std::get_if<profile::PutKey>(&record)) return key_json(*key);
  return put_json(std::get<profile::Put>(record));
}

std::vector<std::string> record_row(const profile::ChangeRecord& record) {
  if (const auto* gone = std::get_if<profile::Delete>(&record)) return {"delete", gone->source.text()};
  if (const auto* move = std::get_if<profile::Move>(&record))
    return {"move", move->source.text() + " -> " + move->target.text()};
  if (const auto* key = std::get_if<profile::DeleteKey>(&record))
    return {"delete key", key->hive.text() + "\\" + key->key.text()};
  if (const auto* key = std::get_if<profile::PutKey>(&record))
    return {"put key", key->hive.text() + "\\" + key->key.text(),
            std::to_string(key->values.size()) + " values set, " +
                std::to_string(key->deleted_values.size()) + " deleted"};
  const auto& put = std::get<profile::Put>(record);
  std::string what = kind_name(put.entry.kind);
  if (put.entry.kind == profile::EntryKind::file)
    what += ", " + human_bytes(put.entry.size_bytes) + ", " + human_bytes(content_bytes(put)) + " to send";
  return {"put", put.path.text(), what};
}

Result<void> run(const Context& context, Options options) {
  if (!options.below_id.empty()) {
    RS_TRY_CTX(options.request.below_id, "--below-id", Guid::parse(options.below_id));
  }
  options.request.frozen_path = options.child;
  extract::Extractor extractor(os::real_file_system(), options.extractor);
  RS_TRY(const auto extraction, extractor.extract(options.request));
  const auto& batch = extraction->batch();
  const auto& statistics = extraction->statistics();

  nlohmann::json records = nlohmann::json::array(), held_back = nlohmann::json::array();
  std::vector<std::vector<std::string>> rows;
  for (const auto& record : batch.records) {
    records.push_back(record_json(record));
    rows.push_back(record_row(record));
  }
  for (const auto& held : batch.held_back) {
    held_back.push_back({{"path", held.path}, {"reason", held.reason}});
    rows.push_back({"held back", held.path, held.reason});
  }
  nlohmann::json value{{"snapshot", batch.snapshot.to_string()},
                       {"records", std::move(records)},
                       {"held_back", std::move(held_back)},
                       {"content_bytes", batch.content_bytes()},
                       {"statistics",
                        {{"delta_bytes", statistics.delta_bytes},
                         {"changed_bytes", statistics.changed_bytes},
                         {"candidate_records", statistics.candidate_records},
                         {"files_examined", statistics.files_examined},
                         {"map_built", statistics.map_built},
                         {"seconds", statistics.seconds}}}};
  if (const auto& journal = extraction->journal())
    value["journal"] = {{"session", journal->session.to_string()},
                        {"profile", journal->profile},
                        {"version", journal->version},
                        {"profile_root", journal->profile_root}};
  context.print(
      value,
      table(rows) + fmt::format("{} records, {} of content; {} in the delta, {} really different; "
                                "{} files examined in {:.2f} s\n",
                                batch.records.size(), human_bytes(batch.content_bytes()),
                                human_bytes(statistics.delta_bytes), human_bytes(statistics.changed_bytes),
                                statistics.files_examined, statistics.seconds));
  return {};
}

}  // namespace

void add_delta_verb(CLI::App& app, Context& context) {
  auto options = std::make_shared<Options>();
  auto* verb =
      context.verb(app, "delta", "Show what changed in a profile on a frozen layer, as it would be saved",
                   [&context, options] { return run(context, *options); });
  verb->add_option("child", options->child, "Frozen layer of a disk")->required();
  verb->add_option("--profile", options->request.profile_root,
                   "Profile's path on the volume (default: what the journal there says)");
  verb->add_option(
      "--below-id", options->below_id,
      "Id of the layer the previous batch was cut from (default: the session's first batch, or the layer "
      "beneath where there is no journal)");
  verb->add_option("--provenance", options->request.provenance_path,
                   "Provenance journal's path on the volume; '' to do without");
  verb->add_option("--map", options->extractor.map_path,
                   "File to keep the map of the volume's clusters in, for the next time");
  verb->add_option("--partition", options->request.partition,
                   "Partition number (default: the first NTFS one)");
}

}  // namespace roamstead::cli
