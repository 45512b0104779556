// SPDX-License-Identifier: Apache-2.0
// dataReferences, data and outputData. What lies in a datastore has no path here: it is expected in data/<name> unless
// the person says where it is.
#include <string>

#include "base/json.hpp"
#include "spec/import/import.hpp"
#include "spec/import/parts.hpp"
#include "spec/import/report.hpp"

namespace trainctl::spec::import {
namespace {

constexpr const char* kOnlyOnAzure = "where it is seen is TRAINCTL_INPUT_<NAME>, not a fixed path";

class Data {
 public:
  Data(const Request& request, Report& report, Imported& made)
      : request_(request), report_(report), out_(made.configuration) {}

  void references() {
    for (const auto& [name, entry] : report_.root().get("dataReferences").fields()) {
      const std::string input = field_name(name);
      const bool upload = folded(entry.get("mode").text()) == "upload";
      out_["environment_variables"]["AZUREML_DATAREFERENCE_" + name] =
          std::string("${{") + (upload ? "outputs." : "inputs.") + input + "}}";
      if (upload) {
        output(input);
        report_.changed(entry, "outputs." + input, "written to outputs/, not uploaded to " + store(entry));
        continue;
      }
      place(entry, name, store(entry) + "/" + entry.get("pathOnDataStore").text());
    }
  }

  void data() {
    for (const auto& [name, entry] : report_.root().get("data").fields()) {
      const Value location = entry.get("dataLocation");
      const Value uri = location.at("uri.path");
      std::string where = uri.text();
      if (where.empty()) {
        const Value dataset = location.get("dataset");
        const std::string id = dataset.get("name").text() + dataset.get("id").text();
        where = id.empty() ? "the datastore " + location.at("dataPath.datastoreName").text() + ": " +
                                 location.at("dataPath.relativePath").text()
                           : "the dataset " + id;
      }
      const std::string variable = entry.get("environmentVariableName").text();
      out_["environment_variables"][variable.empty() ? name : variable] = "${{inputs." + field_name(name) + "}}";
      place(entry, name, where);
    }
  }

  void outputs() {
    for (const auto& [name, entry] : report_.root().get("outputData").fields()) {
      const std::string made = field_name(name);
      output(made);
      out_["environment_variables"][name] = "${{outputs." + made + "}}";
      const Value options = entry.get("additionalOptions").get("registrationOptions");
      report_.changed(entry, "outputs." + made,
                      std::string("written to outputs/, not to a datastore") +
                          (options.is_set() ? "; it is not registered as a dataset" : ""));
    }
  }

 private:
  static std::string store(const Value& entry) {
    const std::string name = entry.get("dataStoreName").text();
    return "the datastore " + (name.empty() ? std::string("of the workspace") : name);
  }

  void output(const std::string& name) { out_["outputs"][name] = Json::object(); }

  void place(const Value& entry, const std::string& name, const std::string& where) {
    const std::string input = field_name(name);
    const auto given = request_.data.find(name);
    std::string note;
    if (given != request_.data.end()) {
      out_["inputs"][input] = given->second;
      note = kOnlyOnAzure;
    } else if (is_local_path(where) && !where.starts_with("the ")) {
      out_["inputs"][input] = result_path(request_, where);
      note = kOnlyOnAzure;
    } else {
      out_["inputs"][input] = result_path(request_, "data/" + name);
      note = "was " + where + ": expected in data/" + name + "; say where it is with --input " + name + "=PATH";
    }
    if (folded(entry.get("mode").text() + entry.get("mechanism").text()) == "download") {
      out_["inputs"][input] = {{"source", out_["inputs"][input]}, {"mode", "copy"}};
    }
    report_.changed(entry, "inputs." + input, note);
  }

  const Request& request_;
  Report& report_;
  Json& out_;
};

}  // namespace

void azureml_data(const Request& request, Report& report, Imported& made) {
  Data data(request, report, made);
  data.references();
  data.data();
  data.outputs();
}

}  // namespace trainctl::spec::import
