// The interface as one table: each line is a method on a path, the command of the coordinator's table that it
// runs (coordinator/server/command_table.h), and what goes in and comes out. Requests are served from it, and
// the OpenAPI description is written from it; the least role is the command's own. So there is nothing that
// could say one thing and do another.
#pragma once

#include <string>
#include <vector>

#include "coordinator/rest/schema.h"

namespace roamstead::rest {

enum class Shape {
  page,       // some of the items of a list, by cursor
  item,       // one of them
  act,        // something is done; the answer says what
  create,     // as act; the answer is 201, and says where what was made is found
  operation,  // what takes longer: the answer is 202 and an operation to follow
  stream,     // server-sent events
};

struct Route {
  std::string id;  // operationId: "listDesktops"
  std::string method;
  std::string path;  // "/v1/desktops/{desktop}": what is in braces is a field of the command's request
  Shape shape = Shape::act;
  std::string command;  // "": the interface's own (operations, the description)
  std::string summary;
  std::string answer;     // a schema; of a page, that of an item
  std::string list = {};  // of a page or an item: the field of the command's result that has them
  std::vector<std::string> keys = {};  // of a page: the fields that an item is known and ordered by
  std::vector<Field> body = {};
  std::vector<Field> query = {};
  std::string tag = {};
  // Said to the command besides: names of flags that are true.
  std::vector<std::string> flags = {};
  // Of a page: query fields that items are chosen by, rather than given to the command.
  std::vector<std::string> filters = {};
  // Of a page: what makes an item of the command's one of the schema; null: it is one.
  nlohmann::json (*reshape)(const nlohmann::json& item) = nullptr;
  // Where several items have the key that the path names: the one without this flag.
  std::string unless = {};
};

const std::vector<Route>& routes();
// Of the table's paths; a field whose name is not known is a bug.
const Field& path_field(const std::string& name);
// The names in braces.
std::vector<std::string> path_fields(const std::string& path);

// Commands that are not for this interface, and why.
struct Unrouted {
  std::string command;
  std::string why;
};
const std::vector<Unrouted>& unrouted();

inline constexpr std::uint64_t kMostItems = 500;  // of a page
inline constexpr std::uint64_t kDefaultItems = 100;

}  // namespace roamstead::rest
