// A peer: web messages in Fastify, its routes and checks made from the contract by fastify-openapi-glue.
import Fastify from 'fastify'
import openapiGlue from 'fastify-openapi-glue'
import { openStore } from './store.mjs'

const { API_KEY, DATABASE_URL, PORT } = process.env
const store = await openStore(DATABASE_URL)
// By default Fastify converts values and removes unknown properties instead of refusing them.
const app = Fastify({ ajv: { customOptions: { coerceTypes: false, removeAdditional: false } } })

const serviceHandlers = {
  async createWebMessage(request, reply) {
    reply.code(201).header('location', `/webmessages/${await store.create(request.body)}`)
    return ''
  },
  async getWebMessagesByPartyId(request) {
    return store.list(request.params.partyId)
  },
  async getWebMessageById(request, reply) {
    const message = await store.get(request.params.id)
    if (message) return message
    reply.code(404)
    return ''
  },
}

const securityHandlers = {
  async ApiKeyAuth(request) {
    if (request.headers.apikey !== API_KEY) throw new Error('wrong API key')
  },
}

app.addHook('onError', async (_request, _reply, error) => {
  if (!error.statusCode || error.statusCode >= 500) console.error(error.stack)
})
await app.register(openapiGlue, { specification: './openapi.yaml', serviceHandlers, securityHandlers })
await app.listen({ port: Number(PORT), host: '127.0.0.1' })
